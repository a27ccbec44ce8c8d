"""Runs passes, with failures as errors of export."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from voirs_vocoder.calibration.edits.run import run_passes as run_edits
from voirs_vocoder.calibration.errors import GraphEditError
from voirs_vocoder.export.errors import ExportError

__all__ = ["run_passes"]


def run_passes(model: onnx.ModelProto, passes: Iterable[ir.passes.PassBase]) -> onnx.ModelProto:
    """Apply passes as `voirs_vocoder.calibration.edits.run.run_passes` does.

    Raises:
        ExportError: A pass refused the model or broke its promise, or the result is not valid ONNX; the cause is
            chained.
    """
    try:
        return run_edits(model, passes)
    except GraphEditError as error:
        raise ExportError(str(error)) from error
