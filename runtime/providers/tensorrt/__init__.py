"""TensorRT engines: built for a GPU beforehand, executed here."""
