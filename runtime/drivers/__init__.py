"""Drivers: how the graphs of an artifact become audio. The manifest names one; a family never writes its own."""
