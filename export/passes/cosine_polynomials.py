"""Cosines as polynomials, and back.

On a CPU, ONNX Runtime computes a cosine on a single thread and OpenVINO by its reference kernel, both at 2.6 ns or more
for a value; the dozen sums and products of a polynomial take less together. A GPU reads and writes memory for each of
them, so a cosine is faster there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir
from numpy.polynomial import Chebyshev, Polynomial
from onnx_ir.passes.common import RemoveUnusedNodesPass

from voirs_vocoder.calibration.edits.reading import constant, is_boundary, name_of, sole_reader
from voirs_vocoder.calibration.edits.writer import NodeWriter

__all__ = ["EXACT_DEGREE", "CosFromPolynomialPass", "PolynomialFromCosPass", "cosine_coefficients"]

EXACT_DEGREE = 5
"""Degree in the square of the phase at which the polynomial is as far from the cosine, 8e-7, as rounding is in FP32."""

_TURN = 2.0 * math.pi
# So few axes have the embeddings of steps, which take no time.
_MIN_RANK = 3


@cache
def cosine_coefficients(degree: int) -> tuple[float, ...]:
    """Coefficients of the polynomial in s for cos(2 pi sqrt(s)), s in [0, 1/4], the constant first.

    They interpolate at the Chebyshev points of that range, which is within a small factor of the least largest error
    (Trefethen, Approximation Theory and Approximation Practice, 2013, theorem 15.2).

    Args:
        degree: Degree, at least 1.
    """
    interpolated = Chebyshev.interpolate(lambda s: np.cos(_TURN * np.sqrt(s)), degree, domain=[0.0, 0.25])
    return tuple(float(each) for each in interpolated.convert(kind=Polynomial).coef)


class PolynomialFromCosPass(ir.passes.InPlacePass):
    """Replaces cosines of phases in turns by polynomials.

        cos(2 pi x)    becomes    c (((s + a) s + ...) s + b),  s = (x - round(x))^2

    The factor c goes into a constant that the cosine is multiplied by, where there is one.

    Args:
        degree: Degree of the polynomials in s.
    """

    def __init__(self, degree: int = EXACT_DEGREE) -> None:
        super().__init__()
        self._degree = degree

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        found = [pair for node in graph if (pair := _cosine(node)) is not None]
        if not found:
            return ir.passes.PassResult(model, modified=False)
        writer = NodeWriter(graph)
        factor, *others = cosine_coefficients(self._degree)[::-1]
        addends = [
            writer.constant(f"cosines.{place}", np.array(each / factor, np.float32))
            for place, each in enumerate(others)
        ]
        for turns, cosine in found:
            phase, name = turns.inputs[0], name_of(cosine)
            nearest = writer.node("Round", [phase], f"{name}.nearest", name=f"{name}.nearest")
            part = writer.node("Sub", [phase, nearest.outputs[0]], f"{name}.part", name=f"{name}.part")
            square = writer.node("Mul", [part.outputs[0]] * 2, f"{name}.square", name=f"{name}.square")
            nodes, value = [nearest, part, square], square.outputs[0]
            for place, addend in enumerate(addends):
                if place:
                    product = f"{name}.product.{place}"
                    nodes.append(writer.node("Mul", [value, square.outputs[0]], product, name=product))
                    value = nodes[-1].outputs[0]
                total = f"{name}.sum.{place}"
                nodes.append(writer.node("Add", [value, addend], total, name=total))
                value = nodes[-1].outputs[0]
            graph.insert_after(cosine, nodes)
            _scale(graph, writer, cosine.outputs[0], value, factor, nodes[-1])
            graph.remove([cosine, turns], safe=True)
        # The constants that only the former nodes read.
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No cosine of a phase in turns is left.

        Raises:
            PostconditionError: One is.
        """
        left = [node.name for node in model.graph if _cosine(node) is not None]
        if left:
            raise ir.passes.PostconditionError(
                f"every cosine must be replaced, got {left[:5]}; report the model"
            )


class CosFromPolynomialPass(ir.passes.InPlacePass):
    """Restores the cosines that `PolynomialFromCosPass` replaced, of any degree."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        found = [polynomial for node in graph if (polynomial := _polynomial(node)) is not None]
        if not found:
            return ir.passes.PassResult(model, modified=False)
        writer = NodeWriter(graph)
        turn = writer.constant("cosines.turn", np.array(_TURN, np.float32))
        for polynomial in found:
            name = name_of(polynomial.nodes[0]).removesuffix(".nearest")
            turns = writer.node("Mul", [polynomial.phase, turn], f"{name}.turns", name=f"{name}.turns")
            turns.outputs[0].shape, turns.outputs[0].type = polynomial.phase.shape, polynomial.phase.type
            cosine = writer.node("Cos", [turns.outputs[0]], f"{name}.output", name=name)
            last = polynomial.nodes[-1]
            graph.insert_after(last, [turns, cosine])
            _scale(graph, writer, last.outputs[0], cosine.outputs[0], 1.0 / polynomial.factor, cosine)
            graph.remove(polynomial.nodes[::-1], safe=True)
        # The constants that only the former nodes read.
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No polynomial for a cosine is left.

        Raises:
            PostconditionError: One is.
        """
        left = [node.name for node in model.graph if _polynomial(node) is not None]
        if left:
            raise ir.passes.PostconditionError(
                f"every cosine must be restored, got {left[:5]}; report the model"
            )


@dataclass(frozen=True)
class _Polynomial:
    """The nodes of a polynomial, in order.

    Attributes:
        phase: Phase in turns.
        nodes: From Round to the last sum.
        factor: Ratio of the cosine to the last sum.
    """

    phase: ir.Value
    nodes: tuple[ir.Node, ...]
    factor: float


def _cosine(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The product with 2 pi that a Cos reads alone, and the Cos; None for another node."""
    value = node.inputs[0] if node.op_type == "Cos" else None
    turns = None if value is None else value.producer()
    if turns is None or turns.op_type != "Mul" or value is None or sole_reader(value) is not node:
        return None
    number, shape = constant(turns.inputs[1]), node.outputs[0].shape
    is_turn = (
        number is not None
        and number.size == 1
        and math.isclose(float(number.reshape(-1)[0]), _TURN, rel_tol=1e-6)
    )
    return (turns, node) if is_turn and shape is not None and len(shape) >= _MIN_RANK else None


def _polynomial(node: ir.Node) -> _Polynomial | None:
    """The polynomial that a Round begins; None for another node."""
    phase = node.inputs[0] if node.op_type == "Round" else None
    part = _reader(node, "Sub")
    square = None if part is None else _reader(part, "Mul")
    if phase is None or part is None or square is None:
        return None
    if part.inputs[0] is not phase or square.inputs[0] is not square.inputs[1]:
        return None
    nodes, sums = [node, part, square], list[float]()
    readers = [user for user, _ in square.outputs[0].uses() if user.op_type == "Add"]
    last = readers[0] if len(readers) == 1 else None
    while last is not None:
        addend = constant(last.inputs[1])
        if addend is None or addend.size != 1:
            break
        nodes.append(last)
        sums.append(float(addend.reshape(-1)[0]))
        product = _reader(last, "Mul")
        if product is None or product.inputs[1] is not square.outputs[0]:
            break
        last = _reader(product, "Add")
        if last is not None:
            nodes.append(product)
    if not sums:
        return None
    factor, *others = cosine_coefficients(len(sums))[::-1]
    if not np.allclose(sums, np.array(others) / factor, rtol=1e-6, atol=0.0):
        return None
    return _Polynomial(phase, tuple(nodes), factor)


def _reader(node: ir.Node, op_type: str) -> ir.Node | None:
    """The only node that reads a node's output, if it is of this operator."""
    readers = {user for user, _ in node.outputs[0].uses()}
    (reader,) = readers if len(readers) == 1 and not is_boundary(node.outputs[0]) else (None,)
    return reader if reader is not None and reader.op_type == op_type else None


def _scale(
    graph: ir.Graph, writer: NodeWriter, former: ir.Value, value: ir.Value, factor: float, last: ir.Node
) -> None:
    """Let all that reads a value read another one times a factor, which goes into a constant where it can.

    Args:
        graph: The graph.
        writer: Its writer.
        former: The value to replace.
        value: The value that takes its place.
        factor: The factor.
        last: The node that makes `value`.
    """
    reader = sole_reader(former)
    place = None if reader is None or reader.op_type != "Mul" else 1 - reader.inputs.index(former)
    share = None if reader is None or place is None else constant(reader.inputs[place])
    if reader is not None and place is not None and share is not None:
        name = f"{name_of(last)}.scaled"
        scaled = (share.astype(np.float64) * factor).astype(np.float32)
        reader.replace_input_with(place, writer.constant(name, scaled))
        reader.replace_input_with(1 - place, value)
        value.shape, value.type = former.shape, former.type
        return
    number = writer.constant(f"{name_of(last)}.factor", np.array(factor, np.float32))
    product = writer.node("Mul", [value, number], f"{name_of(last)}.product")
    graph.insert_after(last, [product])
    writer.take_over(former, product.outputs[0], f"{name_of(former)}.replaced", [])
