"""Makes convolutions add their terms in one order, independent of the length of their input.

ONNX Runtime's CPU kernels add in blocks, whose size depends on how many positions are computed at once. Where the
terms are large, as log mels are, that moves the audio of the shipped HiFi-GAN V2 by up to 2.4e-5 between one chunking
and another; before a quantizer it moves a value to the next step here and there, and an INT8 stream then equals its
own offline pass to no more than 40 dB. Sums that fit one block are the same at any length.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from voirs_vocoder.calibration.edits.reading import (
    attribute,
    initializer,
    input_at,
    name_of,
    refuse_unless_flat,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.edits.writer import NodeWriter

__all__ = [
    "MAX_TERMS",
    "LengthInvariantSumsPass",
    "length_invariant_sums",
]

MAX_TERMS = 128
"""Terms that one block of ONNX Runtime's CPU kernels adds: MLAS_SGEMM_STRIDEK in mlasi.h, onnxruntime 1.31."""


class LengthInvariantSumsPass(ir.passes.InPlacePass):
    """Splits float convolutions of more than `MAX_TERMS` terms by input channels, and adds the parts.

        x -> Conv        becomes        x -> Split -> Conv part.0 -> Add -> ...
                                                   -> Conv part.1 ->

    Args:
        patterns: Shell-style patterns of the nodes to split; None splits every float convolution whose output reaches
            a QuantizeLinear.
    """

    def __init__(self, patterns: Sequence[str] | None) -> None:
        super().__init__()
        self._patterns = None if patterns is None else tuple(patterns)

    def requires(self, model: ir.Model) -> None:
        """The graph is flat and its nodes are named.

        Raises:
            PreconditionError: It is not.
        """
        refuse_unless_flat(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Split in place."""
        graph = model.graph
        chosen = [node for node in self._chosen(graph) if _parts(node) > 1]
        writer = NodeWriter(graph)
        for node in chosen:
            _split(graph, writer, node, _parts(node))
        return ir.passes.PassResult(model, modified=bool(chosen))

    def ensures(self, model: ir.Model) -> None:
        """No convolution that was to be split has more terms than one block.

        Raises:
            PostconditionError: One has more.
        """
        left = [node.name for node in self._chosen(model.graph) if _parts(node) > 1]
        if left:
            raise ir.passes.PostconditionError(
                f"convolutions must have at most {MAX_TERMS} terms, got more in {left[:5]}; report the model"
            )

    def _chosen(self, graph: ir.Graph) -> list[ir.Node]:
        if self._patterns is None:
            quantized = _quantized_later(graph)
            return [node for node in graph if node.outputs[0] in quantized]
        return [
            node
            for node in graph
            if any(fnmatch.fnmatchcase(name_of(node), pattern) for pattern in self._patterns)
        ]


def length_invariant_sums(model: onnx.ModelProto, patterns: Sequence[str]) -> onnx.ModelProto:
    """A copy of a model with the sums of some convolutions made independent of the length.

    Args:
        model: A flat graph with named nodes; it is not changed.
        patterns: Shell-style patterns of the nodes to split. The parts are named `NODE.part.0` and so on.

    Raises:
        GraphEditError: The result is not valid ONNX.
    """
    return run_passes(model, [LengthInvariantSumsPass(patterns)]) if patterns else model


def _parts(node: ir.Node) -> int:
    """The number of parts that a node's input channels must be cut into; 1 for what is not a float convolution."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return 1
    weight = initializer(input_at(node, 1))
    if weight is None or attribute(node, "group", 1) != 1:
        return 1
    # A transposed convolution adds channels only, and scatters the taps.
    if node.op_type == "Conv":
        channels, taps = int(weight.shape[1]), math.prod(weight.shape[2:])
    else:
        channels, taps = int(weight.shape[0]), 1
    return math.ceil(channels / max(1, MAX_TERMS // taps))


def _split(graph: ir.Graph, writer: NodeWriter, node: ir.Node, parts: int) -> None:
    weight = initializer(input_at(node, 1))
    assert weight is not None  # noqa: S101 - _parts is 1 without a constant weight
    axis = 1 if node.op_type == "Conv" else 0
    weights = np.array_split(weight, parts, axis=axis)
    sizes = writer.constant(f"{node.name}.sizes", np.array([part.shape[axis] for part in weights], np.int64))
    split = ir.node(
        "Split",
        [node.inputs[0], sizes],
        {"axis": 1},
        outputs=[ir.Value(name=writer.claim(f"{node.name}.input.{number}")) for number in range(parts)],
        name=writer.claim_node(f"{node.name}.Split"),
    )
    made = [split]
    total: ir.Value | None = None
    for number, values in enumerate(weights):
        stem = f"{node.name}.part.{number}"
        # The bias is added once.
        rest = node.inputs[2:] if number == 0 else ()
        part = writer.node(
            node.op_type,
            [split.outputs[number], writer.constant(f"{stem}.weight", np.ascontiguousarray(values)), *rest],
            f"{stem}.output",
            name=stem,
        )
        part.attributes.update(node.attributes)
        made.append(part)
        if total is None:
            total = part.outputs[0]
        else:
            made.append(writer.node("Add", [total, part.outputs[0]], f"{stem}.sum", name=f"{stem}.Add"))
            total = made[-1].outputs[0]
    graph.insert_before(node, made)
    assert total is not None  # noqa: S101 - there are at least two parts
    former_weight = node.inputs[1]
    writer.take_over(node.outputs[0], total, f"{node.name}.whole", keep=())
    graph.remove(node, safe=True)
    if former_weight is not None and not former_weight.uses():
        del graph.initializers[former_weight.name or ""]


def _quantized_later(graph: ir.Graph) -> set[ir.Value]:
    """Values from which a QuantizeLinear can be reached."""
    found: set[ir.Value] = set()
    for node in reversed(list(graph)):
        if node.op_type == "QuantizeLinear" or any(value in found for value in node.outputs):
            found.update(value for value in node.inputs if value is not None and not value.is_initializer())
    return found
