"""Makes graphs from PyTorch modules, compares the two, and makes graphs of reduced precision from FP32 graphs."""
