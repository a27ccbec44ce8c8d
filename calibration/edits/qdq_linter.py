"""Finds in a QDQ graph what TensorRT would refuse, or take and compute something else.

TensorRT's rules for explicit quantization are stricter than ONNX's, and its parser accepts some violations without an
error: uint8 activations become int8, per-channel activations and scales along the wrong axis of a weight build.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

from voirs_vocoder.calibration.edits.reading import attribute, constant, graph_of, input_at, name_of
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["Finding", "lint_qdq", "require_tensorrt_qdq"]

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1}
_REMEDY = "quantize for the target tensorrt"


@dataclass(frozen=True)
class Finding:
    """A rule that a node breaks.

    Attributes:
        rule: Rule of TensorRT.
        node: Name of the node, or of its first output where the node has none.
        value: Value that breaks the rule.
        remedy: Change that fixes it.
    """

    rule: str
    node: str
    value: str
    remedy: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.node}: {self.rule}, got {self.value}; {self.remedy}"


def lint_qdq(model: onnx.ModelProto) -> list[Finding]:
    """Check every QuantizeLinear and DequantizeLinear.

    Args:
        model: A flat graph.

    Returns:
        The broken rules, in the order of the graph; empty when TensorRT computes what the graph states.
    """
    return _Linter(model).findings()


def require_tensorrt_qdq(model: onnx.ModelProto) -> None:
    """Refuse a graph that TensorRT would misread.

    Raises:
        ArtifactError: `lint_qdq` finds something; the message states the first finding and how many more there are.
    """
    findings = lint_qdq(model)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ArtifactError(f"TensorRT would misread this graph: {findings[0]}{more}")


class _Linter:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = graph_of(model)
        self._findings: list[Finding] = []

    def findings(self) -> list[Finding]:
        for node in self._graph:
            if node.op_type in (_QUANTIZE, _DEQUANTIZE):
                self._check_scale(node)
                self._check_zero_point(node)
            if node.op_type == _DEQUANTIZE:
                self._check_axis(node)
            if node.op_type == _QUANTIZE:
                self._check_not_behind_convolution(node)
        return self._findings

    def _check_scale(self, node: ir.Node) -> None:
        scale = constant(input_at(node, 1))
        if scale is None:
            self._add(
                "a scale must be a constant", node, f"the computed {name_of(node.inputs[1])!r}", _REMEDY
            )
            return
        bad = scale[~(np.isfinite(scale) & (scale > 0))]
        if bad.size:
            self._add(
                "scales must be positive and finite",
                node,
                f"{float(bad.flat[0])}",
                "calibrate on real speech",
            )

    def _check_zero_point(self, node: ir.Node) -> None:
        rule = "a zero point must be a constant 0 of type int8"
        given = input_at(node, 2)
        if given is None:
            # ONNX's default is uint8, unless the node has another type or its input is already int8.
            self._check_implicit_type(node, rule)
            return
        zero_point = constant(given)
        if zero_point is None:
            self._add(rule, node, f"the computed {name_of(given)!r}", _REMEDY)
        elif zero_point.dtype == np.int32:
            self._add("a bias must stay float", node, "int32", _REMEDY)
        elif zero_point.dtype != np.int8:
            self._add(rule, node, f"type {zero_point.dtype}", _REMEDY)
        elif np.any(zero_point):
            self._add(rule, node, f"{int(zero_point[zero_point != 0].flat[0])}", _REMEDY)

    def _check_implicit_type(self, node: ir.Node, rule: str) -> None:
        if node.op_type == _QUANTIZE:
            if attribute(node, "output_dtype", 0) != TensorProto.INT8:
                self._add(rule, node, "none, which means uint8", _REMEDY)
            return
        quantized = constant(node.inputs[0])
        if quantized is not None and quantized.dtype == np.int32:
            self._add("a bias must stay float", node, "int32", _REMEDY)
        elif quantized is not None and quantized.dtype != np.int8:
            self._add(rule, node, f"none, for {quantized.dtype}", _REMEDY)

    def _check_axis(self, node: ir.Node) -> None:
        scale = constant(input_at(node, 1))
        if scale is None or scale.size == 1:
            return
        if not _has_constant_values(node):
            rule = "an activation must have one scale for the whole tensor"
            self._add(rule, node, f"{scale.size} scales", _REMEDY)
            return
        axis = int(attribute(node, "axis", 1))
        for use in node.outputs[0].uses():
            expected = _WEIGHT_AXIS.get(use.node.op_type, axis)
            if use.idx == 1 and axis != expected:
                rule = f"scales of a {use.node.op_type} weight must lie along axis {expected}"
                self._add(rule, node, f"axis {axis}", _REMEDY)

    def _check_not_behind_convolution(self, node: ir.Node) -> None:
        maker = node.inputs[0].producer() if node.inputs[0] is not None else None
        if maker is None or maker.op_type not in _WEIGHT_AXIS:
            return
        for dequantize in node.outputs[0].consumers():
            for reader in dequantize.outputs[0].consumers():
                if reader.op_type not in _WEIGHT_AXIS:
                    rule = (
                        f"a {maker.op_type} must reach {reader.op_type} unquantized, or the two do not fuse"
                    )
                    self._add(rule, node, f"{_QUANTIZE} between {maker.name} and {reader.name}", _REMEDY)

    def _add(self, rule: str, node: ir.Node, value: str, remedy: str) -> None:
        self._findings.append(Finding(rule, name_of(node) or name_of(node.outputs[0]), value, remedy))


def _has_constant_values(node: ir.Node) -> bool:
    """Whether a DequantizeLinear's values are known: stored quantized, or quantized from a constant."""
    integers = node.inputs[0]
    maker = integers.producer() if integers is not None else None
    source = maker.inputs[0] if maker is not None and maker.op_type == _QUANTIZE else integers
    return constant(source) is not None
