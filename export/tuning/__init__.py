"""Tuning: measured settings that become defaults of an artifact."""
