"""Reading the bytes of an ONNX model: checked as the runtime checks them, before a library parses them."""

from __future__ import annotations

import onnx

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.artifact.graph_rules import check_graph
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["read_model"]


def read_model(data: bytes, where: str) -> onnx.ModelProto:
    """Parse an ONNX model.

    Args:
        data: Bytes of the model.
        where: Name of the graph in errors.

    Raises:
        ExportError: The bytes are no ONNX model, or it contains something that a graph must not contain; see
            `check_graph`.
    """
    try:
        check_graph(data)
        return onnx.load_model_from_string(data)
    except ArtifactError as error:
        raise ExportError(f"{where}: {error}") from error
    except Exception as error:  # protocol buffers raise a class of their own below Exception
        raise ExportError(
            f"{where}: not an ONNX model: {' '.join(str(error).split())[:200]}; export the graph again"
        ) from error
