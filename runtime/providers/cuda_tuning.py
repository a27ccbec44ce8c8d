"""How the provider `cuda` computes a shape: the choices, and a file of those that were measured to be fastest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json, read_bounded
from voirs_vocoder.runtime.structured import decode_json

__all__ = [
    "CudaOptions",
    "CudaTuning",
    "ShapeTuning",
    "default_cuda_options",
    "encode_cuda_tuning",
    "ort_cuda_options",
    "read_cuda_tuning",
]

_MAX_BYTES = 16 << 20


class CudaOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider `cuda` computes one shape of a graph. Every choice gives the same audio, within rounding.

    Attributes:
        search: How cuDNN chooses the algorithm of a convolution: `heuristic` by rules, `exhaustive` by trying them all,
            which takes seconds per shape.
        channels_last: Whether convolutions run on tensors whose channels are last.
        cuda_graph: Whether the kernels are recorded and played back at once.
    """

    search: Literal["heuristic", "exhaustive"] = "heuristic"
    channels_last: bool = False
    cuda_graph: bool = True


class ShapeTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fastest choice for one shape of one graph on one kind of GPU.

    Attributes:
        graph_sha256: SHA-256 of the graph's file, in hexadecimal.
        device: Name of the GPU, such as `NVIDIA L4`.
        backend: Library and version, such as `onnxruntime 1.31.1`.
        tf32: Whether factors of FP32 graphs were rounded to TF32.
        dimensions: Size of each dynamic axis of the graph's inputs, by the axis's name.
        options: The fastest choice.
        default_ms: Median time of a run with the default choice, in milliseconds.
        best_ms: Median time of a run with the fastest choice, in milliseconds.
    """

    graph_sha256: str
    device: str
    backend: str
    tf32: bool
    dimensions: dict[str, int]
    options: CudaOptions
    default_ms: float
    best_ms: float

    @property
    def key(self) -> tuple[object, ...]:
        """What the choice holds for."""
        dimensions = tuple(sorted(self.dimensions.items()))
        return self.graph_sha256, self.device, self.backend, self.tf32, dimensions


class CudaTuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Choices that were measured, for any number of graphs and kinds of GPUs.

    Attributes:
        format_version: Layout of the file; 1.
        shapes: One choice per graph, kind of GPU, library and shape.
    """

    format_version: Literal[1] = 1
    shapes: tuple[ShapeTuning, ...] = ()

    def choices(
        self, graph_sha256: str, device: str, backend: str, *, tf32: bool
    ) -> dict[frozenset[tuple[str, int]], CudaOptions]:
        """Find the choices for a graph on a GPU.

        Args:
            graph_sha256: SHA-256 of the graph's file, in hexadecimal.
            device: Name of the GPU.
            backend: Library and version.
            tf32: Whether factors of FP32 graphs are rounded to TF32.

        Returns:
            Sizes of the dynamic axes to the choice for them.
        """
        wanted = (graph_sha256, device, backend, tf32)
        return {
            frozenset(shape.dimensions.items()): shape.options
            for shape in self.shapes
            if (shape.graph_sha256, shape.device, shape.backend, shape.tf32) == wanted
        }

    def updated(self, shapes: tuple[ShapeTuning, ...]) -> CudaTuning:
        """Take new choices in the place of those for the same shapes.

        Args:
            shapes: The new choices.
        """
        by_key = {shape.key: shape for shape in (*self.shapes, *shapes)}
        return CudaTuning(shapes=tuple(by_key.values()))


def read_cuda_tuning(path: Path | str) -> CudaTuning:
    """Read a file of choices that `voirs-vocoder tune --only gpu` wrote.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read, or is not such a file.
    """
    try:
        return decode_json(read_bounded(Path(path), _MAX_BYTES), CudaTuning)
    except InputError as error:
        raise InputError(
            f"gpu_tuning must be a file that `voirs-vocoder tune` wrote for a GPU, got {path}: {error}; tune again"
        ) from error


def encode_cuda_tuning(tuning: CudaTuning) -> bytes:
    """Bytes of a file of choices, as JSON."""
    return indented_json(tuning, order="deterministic")


def default_cuda_options(precision: Precision, *, cuda_graphs: bool) -> CudaOptions:
    """The choice where nothing was measured on this machine: what was fastest on an H200 (`make gpu`).

    The heuristic choice of algorithms was never slower than the exhaustive search there, which chose kernels ten times
    as slow in FP16. Channels-last tensors halve the time of FP16 graphs and slow FP32 graphs down.

    Args:
        precision: Precision of the graph.
        cuda_graphs: Whether kernels may be recorded.
    """
    return CudaOptions(channels_last=precision != "fp32", cuda_graph=cuda_graphs)


def ort_cuda_options(
    options: CudaOptions, precision: Precision, *, device: int, tf32: bool, cuda_graphs: bool
) -> Mapping[str, str]:
    """Options of ONNX Runtime's CUDA provider.

    Args:
        options: The choice for a shape.
        precision: Precision of the graph.
        device: Index of the GPU.
        tf32: Whether factors of FP32 graphs may be rounded to TF32. The few FP32 parts of other graphs always are: with
            channels last, cuDNN has slow kernels only for FP32.
        cuda_graphs: Whether kernels may be recorded; False overrides the choice for the shape.
    """
    return {
        "device_id": str(device),
        "cudnn_conv_algo_search": options.search.upper(),
        "prefer_nhwc": str(int(options.channels_last)),
        "use_tf32": str(int(tf32 or precision != "fp32")),
        "enable_cuda_graph": str(int(options.cuda_graph and cuda_graphs)),
        "arena_extend_strategy": "kSameAsRequested",
    }
