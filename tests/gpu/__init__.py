"""What runs on a GPU: exactness and speed of every family, role, precision and GPU provider."""
