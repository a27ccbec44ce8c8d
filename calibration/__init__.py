"""Calibration: what is fitted on speech, that is INT8 graphs and the extrapolators of low-latency streams."""
