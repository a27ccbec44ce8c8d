"""Artifacts, files and folders held against each other."""
