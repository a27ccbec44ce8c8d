"""How each operator reads time. An operator that is not here cannot be streamed; it is refused by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.reading import Reading, Rule, StreamingError, Zeros

__all__ = ["rule_of"]

_POINTWISE_ZEROS: dict[str, Zeros] = {
    # f(0) = 0
    **dict.fromkeys(("LeakyRelu", "Relu", "Gelu", "Tanh", "Neg", "Identity", "Cast", "Abs"), "all"),
    **dict.fromkeys(("Sqrt", "Sin", "Round"), "all"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "all"),
    **dict.fromkeys(("Add", "Sub"), "all"),
    "Mul": "any",
    "Div": "any",
    **dict.fromkeys(("Sigmoid", "Exp", "Clip", "Where", "Pow", "Softplus", "Erf", "Cos"), "never"),
}
_TRANSPARENT = frozenset({"LeakyRelu", "Relu", "Neg", "Cast", "DequantizeLinear"})
_OTHER_AXES = frozenset({"Concat", "Split", "Softmax"})
_NORMALIZATIONS = frozenset({"LayerNormalization"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax"})


def rule_of(node: ir.Node, axes: Axes, *, integer_history: bool) -> Rule | None:
    """How a node is streamed.

    Args:
        node: Any node of the graph.
        axes: Time axes of the graph's tensors.
        integer_history: Whether history is kept after QuantizeLinear, in integers, or before it.

    Returns:
        None for a node that no time flows through, which stays as it is.

    Raises:
        StreamingError: The operator is not known, or mixes positions in a way that is not.
    """
    timed = [index for index, value in enumerate(node.inputs) if axes.of(value) is not None]
    if not timed or node.op_type == "Shape":
        return None
    if node.op_type in _POINTWISE_ZEROS:
        rule = _pointwise(node, axes, timed, integer_history=integer_history)
    elif node.op_type in _OTHER_AXES | _REDUCTIONS | _NORMALIZATIONS:
        rule = _beside_time(node, axes, timed)
    elif node.op_type in _RULES:
        rule = _RULES[node.op_type](node, axes)
    else:
        raise StreamingError(f"{_name(node)}: this operator is not known to the streaming pass")
    _check(node, axes, rule)
    return rule


def _check(node: ir.Node, axes: Axes, rule: Rule) -> None:
    """The observed rates agree with the rule, and nothing is read beyond a tensor that is longer than its time."""
    for reading in rule.readings:
        source = axes.of(reading.value)
        for output in node.outputs:
            result = axes.of(output)
            if (
                source is None
                or result is None
                or source.rate * reading.factor != result.rate * reading.stride
            ):
                raise StreamingError(
                    f"{_name(node)}: its output must hold {reading.factor} positions for {reading.stride} of its "
                    f"input, got axes {source} and {result}"
                )
            if result.extra < 0:
                raise StreamingError(f"{_name(node)}: its output is {-result.extra} positions too short")
        # Its end would be taken for the utterance's.
        longer = reading.outside not in ("zero", "pairs")
        if source is not None and source.extra and reading.beyond and longer:
            raise StreamingError(
                f"{_name(node)}: a tensor that is {source.extra} positions longer than the utterance must be padded by "
                "zeros"
            )
        if reading.outside == "pairs" and source is not None and source.extra != 1:
            raise StreamingError(
                f"{_name(node)}: pairs of half-steps must be one more than steps, got {source.extra} more"
            )
        # Only then every position outside that is read lies in one part with the position that it mirrors.
        symmetric = reading.first == -reading.last and reading.stride == reading.factor == 1
        if reading.outside == "reflect" and not symmetric:
            raise StreamingError(
                f"{_name(node)}: reading a mirrored tensor, it must reach equally far to both sides, got "
                f"{-reading.first} and {reading.last} positions"
            )


def _pointwise(node: ir.Node, axes: Axes, timed: list[int], *, integer_history: bool) -> Rule:
    result = axes.require(node.outputs[0])
    for index in timed:
        axis = axes.require(node.inputs[index])
        # Broadcasting aligns the last axes.
        if axis.rank - axis.axis != result.rank - result.axis:
            raise StreamingError(f"{_name(node)}: input {index} holds time in another axis than the output")
    zeros: Zeros = _POINTWISE_ZEROS[node.op_type]
    divisor_in_time = node.op_type == "Div" and 1 in timed
    shifted = node.op_type in ("Add", "Sub") and len(timed) < len(node.inputs)
    if divisor_in_time or shifted:
        zeros = "never"
    scalar = node.op_type in ("Mul", "Div") and all(
        index in timed
        or (value is not None and value.const_value is not None and value.const_value.size == 1)
        for index, value in enumerate(node.inputs)
    )
    return Rule(
        tuple(_reading(node, axes, index) for index in timed),
        transparent=len(timed) == 1
        and (
            node.op_type in _TRANSPARENT
            or scalar
            or (node.op_type == "QuantizeLinear" and not integer_history)
        ),
        zeros=zeros,
        # ONNX Runtime computes a convolution in integers only where its quantizer follows immediately.
        at_once=node.op_type == "QuantizeLinear" and integer_history,
    )


def _beside_time(node: ir.Node, axes: Axes, timed: list[int]) -> Rule:
    source = axes.require(node.inputs[timed[0]])
    if node.op_type in _REDUCTIONS:
        touched = _constant(node, 1)
    elif node.op_type in _NORMALIZATIONS:
        touched = list(range(_integer(node, "axis", -1) % source.rank, source.rank))
    else:
        touched = [_integer(node, "axis", -1 if node.op_type == "Softmax" else 0)]
    if source.axis in [axis % source.rank for axis in touched]:
        raise StreamingError(f"{_name(node)}: it works along time")
    if node.op_type == "Concat" and len(timed) != len(node.inputs):
        raise StreamingError(f"{_name(node)}: some of its inputs have no time")
    shifted = node.op_type in _NORMALIZATIONS and len(node.inputs) > 2
    zeros: Zeros = "never" if node.op_type == "Softmax" or shifted else "all"
    return Rule(tuple(_reading(node, axes, index) for index in timed), zeros=zeros)


def _conv(node: ir.Node, axes: Axes) -> Rule:
    kernel, stride, dilation, (before, after) = _window(node, axes)
    reading = _reading(node, axes, 0)
    if reading.outside != "zero" and (before or after):
        raise StreamingError(f"{_name(node)}: it adds zeros to an input that is padded by its ends")
    first = reading.first - before
    last = first + (kernel - 1) * dilation
    return Rule(
        (dataclasses.replace(reading, first=first, last=last, stride=stride),),
        {"pads": _pads(node, 0, 0)},
    )


def _conv_transpose(node: ir.Node, axes: Axes) -> Rule:
    kernel, stride, dilation, (before, _) = _window(node, axes)
    reach = (kernel - 1) * dilation + 1
    steps = (reach - 1) // stride
    padded = _reading(node, axes, 0)
    reading = dataclasses.replace(padded, first=padded.first - steps, factor=stride, shift=before)
    if reading.outside != "zero":
        # What lies beyond the padding adds nothing, and must not be read where a stream would repeat an end.
        below = axes.padded[_input(node, 0)]
        least, most = before // stride + reading.first, (before + stride - 1) // stride + reading.last
        if least < -below.before or most > below.after:
            raise StreamingError(f"{_name(node)}: it reads beyond the padding of its input")
    attributes: dict[str, int | list[int]] = {"pads": _pads(node, steps * stride, reach - stride)}
    if padding := _integers(node, "output_padding", []):
        # Positions that the offline graph appends are those that the padding at the end would have cut.
        attributes["output_padding"] = [*padding[:-1], 0]
    return Rule((reading,), attributes)


def _slice(node: ir.Node, axes: Axes) -> Rule:
    source = axes.require(node.inputs[0])
    touched = _constant(node, 3) if len(node.inputs) > 3 else list(range(len(_constant(node, 1))))
    steps = _constant(node, 4) if len(node.inputs) > 4 else [1] * len(touched)
    if source.axis not in [axis % source.rank for axis in touched]:
        return Rule((_reading(node, axes, 0),), zeros="all")
    start, step = _constant(node, 1)[0], steps[0]
    if len(touched) != 1 or step != 1 or start < 0:
        raise StreamingError(
            f"{_name(node)}: it may cut time alone, forwards, from a place counted from the start"
        )
    reading = _reading(node, axes, 0)
    place = reading.first + start
    cut = dataclasses.replace(reading, first=place, last=place, computed=source.extra)
    # What is cut off at the end is not zero in a stream.
    whole = source.extra <= axes.require(node.outputs[0]).extra
    return Rule((cut,), zeros="all" if whole else "never", passes=True)


def _reshape(node: ir.Node, axes: Axes) -> Rule:
    """Time stays as it is, or is cut into (time, k), or these are joined."""
    source, result = axes.require(node.inputs[0]), axes.require(node.outputs[0])
    reading = _reading(node, axes, 0)
    before = [math.prod(size or 1 for size in axis.shape[1 : axis.axis]) for axis in (source, result)]
    if source.shape[0] is not None or result.shape[0] is not None or before[0] != before[1]:
        raise StreamingError(f"{_name(node)}: it must keep the batch and what lies before time")
    if source.rate == result.rate:
        return Rule((reading,), zeros="all")
    if source.rate > result.rate:
        factor = source.rate // result.rate
        return Rule((Reading(0, reading.value, 0, factor - 1, stride=factor),), zeros="all")
    return Rule((Reading(0, reading.value, factor=result.rate // source.rate),), zeros="all")


def _moved(node: ir.Node, axes: Axes) -> Rule:
    """Transpose, Squeeze, Unsqueeze: axes move, time stays one of them."""
    return Rule((_reading(node, axes, 0),), zeros="all")


def _gather(node: ir.Node, axes: Axes) -> Rule:
    source = axes.require(node.inputs[0])
    if axes.of(node.inputs[1]) is not None or _integer(node, "axis", 0) % source.rank == source.axis:
        raise StreamingError(f"{_name(node)}: it gathers along time")
    return Rule((_reading(node, axes, 0),), zeros="all")


_RULES: dict[str, Callable[[ir.Node, Axes], Rule]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": _moved,
    "Squeeze": _moved,
    "Unsqueeze": _moved,
    "Gather": _gather,
    "Expand": _moved,
}


def _reading(node: ir.Node, axes: Axes, index: int) -> Reading:
    value = _input(node, index)
    below = axes.padded.get(value)
    if below is None:
        return Reading(index, value)
    return Reading(index, below.value, -below.before, -below.before, outside=below.outside, above=below.above)


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise StreamingError(f"{_name(node)}: input {index} is missing")
    return value


def _window(node: ir.Node, axes: Axes) -> tuple[int, int, int, tuple[int, int]]:
    """Kernel, stride, dilation and padding along time, which is the last axis."""
    source = axes.require(node.inputs[0])
    weight = node.inputs[1]
    if source.axis != source.rank - 1 or weight is None or weight.shape is None:
        raise StreamingError(f"{_name(node)}: time must be the last axis, and the kernel's size known")
    padding = node.attributes.get("auto_pad")
    if padding is not None and padding.as_string() != "NOTSET":
        raise StreamingError(f"{_name(node)}: its padding must be stated, got {padding.as_string()}")
    spatial = source.rank - 2
    strides = _integers(node, "strides", [1] * spatial)
    dilations = _integers(node, "dilations", [1] * spatial)
    pads = _integers(node, "pads", [0] * 2 * spatial)
    return int(weight.shape.numpy()[-1]), strides[-1], dilations[-1], (pads[spatial - 1], pads[-1])


def _pads(node: ir.Node, before: int, after: int) -> list[int]:
    """The padding with other values along time."""
    weight = node.inputs[1]
    rank = 3 if weight is None or weight.shape is None else len(weight.shape)
    spatial = rank - 2
    pads = _integers(node, "pads", [0] * 2 * spatial)
    pads[spatial - 1], pads[-1] = before, after
    return pads


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return list(default) if attribute is None else list(attribute.as_ints())


def _constant(node: ir.Node, index: int) -> list[int]:
    value = node.inputs[index]
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None:
        raise StreamingError(f"{_name(node)}: input {index} must be a constant")
    return [int(number) for number in np.ravel(tensor.numpy())]


def _name(node: ir.Node) -> str:
    return f"node {node.name!r} ({node.op_type})"
