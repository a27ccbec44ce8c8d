"""Checkpoints: tensors read from files without executing anything, and weight normalization removed."""
