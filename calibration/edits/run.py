"""Runs passes over a serialized model, so that callers handle `onnx.ModelProto` only."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir
from onnx.external_data_helper import uses_external_data

from voirs_vocoder.calibration.errors import GraphEditError

__all__ = ["run_passes"]


def run_passes(model: onnx.ModelProto, passes: Iterable[ir.passes.PassBase]) -> onnx.ModelProto:
    """Apply passes in order, after shape inference and before the ONNX checker.

    Args:
        model: The model, at most 2 GiB with its weights, which lie inside it. It is not changed.
        passes: At least one pass.

    Returns:
        The transformed model, with the type and shape of every value that inference knows. The same model and
        passes give the same bytes.

    Raises:
        GraphEditError: A pass refused the model or broke its promise, or the result is not valid ONNX; the cause is
            chained.
    """
    outside = [tensor.name for tensor in model.graph.initializer if uses_external_data(tensor)]
    if outside:
        raise GraphEditError(
            f"passes need the weights inside the model, got {outside[:5]} in other files; load those as well"
        )
    try:
        # The inferred model is a new one, so the passes may edit the tensors that it holds.
        edited = ir.from_proto(onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True))
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise GraphEditError(
            f"passes need a model whose shapes can be inferred, got {_one_line(error)}; export it again"
        ) from error
    for graph_pass in passes:
        try:
            edited = graph_pass(edited).model
        except (ir.passes.InvariantError, ir.passes.PassError) as error:
            raise GraphEditError(f"{type(graph_pass).__name__}: {error}") from error
    result = ir.to_proto(edited)
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphEditError(
            f"passes must leave valid ONNX, got {_one_line(error)}; report the model"
        ) from error
    return result


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
