"""Export's own error, for what goes wrong between a checkpoint that loads and an artifact to trust."""

__all__ = ["ExportError"]


class ExportError(Exception):
    """An export step failed or its result cannot be trusted.

    The message states the rule, the value received and the remedy, in one line.
    """
