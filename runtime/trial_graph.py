"""A small convolution in every precision, by which `doctor` tries providers; made without the package onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import (
    FileEntry,
    GraphEntry,
    GraphFacts,
    Precision,
    Target,
    TensorInfo,
)
from voirs_vocoder.runtime.artifact.wire import bytes_field, varint_field

__all__ = ["TRIAL_PRECISIONS", "trial_audio", "trial_entry", "trial_graph", "trial_mel"]

TRIAL_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
"""The precisions in which there is a trial graph."""

_OPSET, _IR_VERSION = 20, 9
# The first one in which a convolution takes BF16.
_BF16_OPSET = 22
_CHANNELS, _FRAMES = 8, 32
_SHAPE = ("batch", _CHANNELS, "frames")
_FACTOR, _STEP = 2.0, 1 / 64
_FLOAT, _INT8, _INT64, _FLOAT16, _BFLOAT16 = 1, 3, 7, 10, 16
_NUMBERS = {"float32": _FLOAT, "int8": _INT8, "int64": _INT64, "float16": _FLOAT16, "uint16": _BFLOAT16}


def trial_mel() -> NDArray[np.float32]:
    """The input of the trial graph, float32 [1, 8, 32]: multiples of 1/64, which every precision holds exactly."""
    steps = np.arange(-_CHANNELS * _FRAMES // 2, _CHANNELS * _FRAMES // 2, dtype=np.float32)
    return (steps * np.float32(_STEP)).reshape(1, _CHANNELS, _FRAMES)


def trial_audio() -> NDArray[np.float32]:
    """The output of the trial graph for `trial_mel`, float32 [1, 8, 32], equal in every precision."""
    return np.float32(_FACTOR) * trial_mel()


def trial_graph(precision: Precision) -> bytes:
    """An ONNX model: a padded convolution over time, written as a 2-D one, that doubles its input.

    Args:
        precision: One of `TRIAL_PRECISIONS`: type of the convolution's input and weights. INT8 stands as quantizers
            and their inverses around it. The graph's own input and output are float32 [batch, 8, frames].
    """
    weight = np.zeros((_CHANNELS, _CHANNELS, 1, 3), np.float32)
    weight[np.arange(_CHANNELS), np.arange(_CHANNELS), 0, 1] = _FACTOR
    tensors: dict[str, NDArray[np.generic]] = {"axes": np.array([2], np.int64)}
    head: list[bytes] = []
    tail: list[bytes] = []
    before, kernel, after = "mel", "weight", "audio"
    if precision == "fp16":
        before, after = "halves", "half_audio"
        head = [_node("Cast", ["mel"], before, to=_FLOAT16)]
        tail = [_node("Cast", [after], "audio", to=_FLOAT)]
        tensors["weight"] = weight.astype(np.float16)
    elif precision == "bf16":
        before, after = "halves", "half_audio"
        head = [_node("Cast", ["mel"], before, to=_BFLOAT16)]
        tail = [_node("Cast", [after], "audio", to=_FLOAT)]
        # NumPy has no BF16; its bits are the upper half of those of FP32, and 0 and 2 have no other bits.
        tensors["weight"] = (weight.view(np.uint32) >> 16).astype(np.uint16)
    elif precision == "int8":
        tensors |= {
            "zero": np.array(0, np.int8),
            "in_scale": np.array(_STEP, np.float32),
            "out_scale": np.array(_FACTOR * _STEP, np.float32),
            "weight_scale": np.array(1.0, np.float32),
            "weight": weight.astype(np.int8),
        }
        before, kernel, after = "values", "kernel", "sums"
        head = [
            _node("QuantizeLinear", ["mel", "in_scale", "zero"], "codes"),
            _node("DequantizeLinear", ["codes", "in_scale", "zero"], before),
            _node("DequantizeLinear", ["weight", "weight_scale", "zero"], kernel),
        ]
        tail = [
            _node("QuantizeLinear", [after, "out_scale", "zero"], "out_codes"),
            _node("DequantizeLinear", ["out_codes", "out_scale", "zero"], "audio"),
        ]
    else:
        tensors["weight"] = weight
    nodes = [
        *head,
        _node("Unsqueeze", [before, "axes"], "rows"),
        _node("Conv", ["rows", kernel], "doubled", pads=[0, 1, 0, 1]),
        _node("Squeeze", ["doubled", "axes"], after),
        *tail,
    ]
    graph = b"".join(bytes_field(1, node) for node in nodes) + bytes_field(2, b"trial")
    graph += b"".join(bytes_field(5, _tensor(name, values)) for name, values in tensors.items())
    graph += bytes_field(11, _value_info("mel")) + bytes_field(12, _value_info("audio"))
    opset = bytes_field(1, b"") + varint_field(2, _opset(precision))
    return varint_field(1, _IR_VERSION) + bytes_field(7, graph) + bytes_field(8, opset)


def trial_entry(precision: Precision, target: Target | None) -> GraphEntry:
    """What a manifest would state for the trial graph.

    Args:
        precision: One of `TRIAL_PRECISIONS`.
        target: Kind of provider that the graph is for; None for any.
    """
    graph = trial_graph(precision)
    return GraphEntry(
        role="offline",
        precision=precision,
        target=target,
        file=FileEntry(
            path="the trial graph", sha256=hashlib.sha256(graph).hexdigest(), size_bytes=len(graph)
        ),
        opset=_opset(precision),
        inputs=(TensorInfo(name="mel", dtype="float32", shape=_SHAPE),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=_SHAPE),),
        facts=GraphFacts(),
        details={},
    )


def _opset(precision: Precision) -> int:
    return _BF16_OPSET if precision == "bf16" else _OPSET


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    parts = [bytes_field(1, name.encode()) for name in inputs]
    parts += [bytes_field(2, output.encode()), bytes_field(4, operator.encode())]
    for name, value in attributes.items():
        if isinstance(value, int):
            content = varint_field(3, value) + varint_field(20, 2)
        else:
            content = b"".join(varint_field(8, each) for each in value) + varint_field(20, 7)
        parts.append(bytes_field(5, bytes_field(1, name.encode()) + content))
    return b"".join(parts)


def _tensor(name: str, values: NDArray[np.generic]) -> bytes:
    dims = b"".join(varint_field(1, size) for size in values.shape)
    kind = varint_field(2, _NUMBERS[values.dtype.name])
    return dims + kind + bytes_field(8, name.encode()) + bytes_field(9, values.tobytes())


def _value_info(name: str) -> bytes:
    dims = b"".join(
        bytes_field(1, varint_field(1, axis) if isinstance(axis, int) else bytes_field(2, axis.encode()))
        for axis in _SHAPE
    )
    tensor = varint_field(1, _FLOAT) + bytes_field(2, dims)
    return bytes_field(1, name.encode()) + bytes_field(2, bytes_field(1, tensor))
