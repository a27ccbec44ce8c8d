"""Validation: every graph of an artifact measured on real speech and judged by gates."""
