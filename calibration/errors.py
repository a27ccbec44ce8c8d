"""Calibration's own error, for graph edits that fail."""

__all__ = ["GraphEditError"]


class GraphEditError(Exception):
    """A pass refused a graph or broke its promise, or its result is not valid ONNX.

    The message states the rule, the value received and the remedy, in one line.
    """
