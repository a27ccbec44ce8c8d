"""Graph edits of calibration, one per module."""
