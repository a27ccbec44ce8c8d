"""Transposed convolutions with as much padding before as after, which is all that cuDNN has."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from voirs_vocoder.calibration.edits.reading import constant, initializer, refuse_unless_flat

__all__ = ["EvenPaddingPass"]

_QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})


class EvenPaddingPass(ir.passes.InPlacePass):
    """Makes the padding of 1-D transposed convolutions even by adding zeros to their kernels.

        kernel k, pads (a, b), a > b     kernel k + a - b with zeros at its end, pads (a, a)
        kernel k, pads (a, b), a < b     kernel k + b - a with zeros at its start, pads (b, b)

    The zeros only reach positions that the padding cuts off, and add nothing to the others. A dilated convolution, and
    one whose kernel is not a constant or not zero where its integers are, stays as it is.
    """

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, and its nodes have names of their own.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_flat(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        modified = False
        for node in model.graph:
            if node.op_type == "ConvTranspose" and (pads := _uneven(node)) is not None:
                modified = _extend(node, *pads) or modified
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        """The kernel's size that a node states is that of its weight.

        Raises:
            PostconditionError: They differ.
        """
        for node in model.graph:
            weight = node.inputs[1] if node.op_type == "ConvTranspose" else None
            stated = node.attributes.get("kernel_shape")
            if weight is None or weight.shape is None or stated is None:
                continue
            if list(stated.as_ints()) != list(weight.shape[2:]):
                raise ir.passes.PostconditionError(
                    f"{node.name}: its kernel must have the stated size {stated.as_ints()}, got {weight.shape}; "
                    "report the model"
                )


def _uneven(node: ir.Node) -> tuple[int, int] | None:
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    dilations = node.attributes["dilations"].as_ints() if "dilations" in node.attributes else (1,)
    if len(pads) != 2 or pads[0] == pads[1] or tuple(dilations) != (1,):
        return None
    return pads[0], pads[1]


def _extend(node: ir.Node, before: int, after: int) -> bool:
    chain = _weight_chain(node.inputs[1])
    if chain is None:
        return False
    source = chain[-1]
    values = initializer(source)
    if values is None:
        return False
    added = (max(0, after - before), max(0, before - after))
    longer = np.pad(values, ((0, 0), (0, 0), added))
    source.const_value = ir.tensor(longer, name=source.name)
    for value in chain:
        value.shape = ir.Shape(longer.shape)
    node.attributes.add(ir.AttrInt64s("pads", [max(before, after)] * 2))
    if "kernel_shape" in node.attributes:
        node.attributes.add(ir.AttrInt64s("kernel_shape", [longer.shape[2]]))
    return True


def _weight_chain(value: ir.Value | None) -> list[ir.Value] | None:
    """The weight and what it is made of, up to the constant; None where other nodes read one of them."""
    chain = []
    while value is not None:
        # Nodes that an earlier pass took out of the graph may still read it.
        readers = [reader for reader, _ in value.uses() if reader.graph is not None]
        if len(readers) != 1 or value.is_graph_output():
            return None
        chain.append(value)
        producer = value.producer()
        if producer is None:
            return chain
        if producer.op_type not in _QUANTIZERS or _offset(producer):
            return None
        value = producer.inputs[0]
    return None


def _offset(quantizer: ir.Node) -> bool:
    """Whether an integer other than 0 may stand for zero."""
    if len(quantizer.inputs) < 3 or quantizer.inputs[2] is None:
        return False
    zero_point = constant(quantizer.inputs[2])
    return zero_point is None or bool(zero_point.any())
