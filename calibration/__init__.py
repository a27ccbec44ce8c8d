"""Calibration: from speech to INT8 graphs."""
