"""The export that users make themselves: `torch.onnx.export` alone, with any length."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.runtime.errors import InputError

__all__ = ["export_stock"]

_TRACED_FRAMES = 24
_MAX_FRAMES = 1 << 16
_MAX_ROWS = 1 << 10


def export_stock(spec: GraphSpec, hop_length: int, path: Path, *, any_rows: bool) -> None:
    """Export a graph.

    Args:
        spec: The graph.
        hop_length: Audio samples per mel frame.
        path: The .onnx file to write.
        any_rows: Whether the graph takes any number of rows; False exports it for one.

    Raises:
        InputError: torch exports nothing.
    """
    sizes = {"batch": 2 if any_rows else 1, "samples": _TRACED_FRAMES * hop_length}
    examples = example_inputs(spec, sizes, _TRACED_FRAMES, seed=0)
    frames = torch.export.Dim("frames", min=1, max=_MAX_FRAMES)
    rows = torch.export.Dim("batch", min=1, max=_MAX_ROWS)

    def size(axis: str) -> object:
        if axis == "batch":
            return rows
        factor = {"frames": 1, "samples": hop_length}.get(axis) or int(axis.partition("*")[2])
        return frames if factor == 1 else factor * frames

    shapes = tuple(
        {index: size(axis) for index, axis in tensor.dynamic_axes.items() if any_rows or axis != "batch"}
        for tensor in spec.inputs
    )
    with warnings.catch_warnings():
        # The exporter remarks on axes of one name, and on its own use of torch.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            spec.module,
            tuple(torch.from_numpy(value) for value in examples.values()),
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    if program is None:
        raise InputError("torch.onnx.export returned no program; update torch")
    program.save(path)
