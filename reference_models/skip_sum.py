"""The sum of what a network's layers hand on, in the form that needs least memory."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["skip_sum"]


def skip_sum(skips: Sequence[Tensor]) -> Tensor:
    """Add up tensors of one shape, at least one.

    Added at the end of the graph, not on the way: ONNX Runtime runs the producers of a node's inputs from the last one
    listed to the first, so this is the form in which it holds one sum instead of every summand.
    """
    total = skips[0]
    for skip in skips[1:]:
        total = total + skip
    return total
