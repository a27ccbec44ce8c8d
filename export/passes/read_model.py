"""Reading the bytes of an ONNX model: checked as the runtime checks them, before a library parses them."""

from __future__ import annotations

import onnx

from voirs_vocoder.runtime.artifact.graph_rules import check_graph
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["read_model"]

_MAX_REASON_CHARACTERS = 300


def read_model(data: bytes, where: str) -> onnx.ModelProto:
    """Parse an ONNX model that comes from an artifact.

    Args:
        data: Bytes of the model.
        where: Name of the graph in errors.

    Raises:
        ArtifactError: The bytes are no valid ONNX model, or it contains something that a graph must not contain; see
            `check_graph`.
    """
    try:
        check_graph(data)
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from error
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model, full_check=True)
    except MemoryError:
        raise
    except Exception as error:  # protocol buffers and the checker raise classes of their own below Exception
        reason = " ".join(str(error).split())[:_MAX_REASON_CHARACTERS]
        raise ArtifactError(
            f"{where}: not a valid ONNX model: {reason}; export the artifact again"
        ) from error
    return model
