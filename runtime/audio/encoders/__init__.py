"""Encoder backends: one module per library that writes audio."""
