"""Tuning of a GPU: how the provider `cuda` computes each shape of an artifact's graphs fastest, by measuring."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.runtime import Artifact, SessionConfig
from voirs_vocoder.runtime.artifact.axes import axis_frames, axis_size
from voirs_vocoder.runtime.artifact.declared_shapes import DeclaredShapes
from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, STREAM_ROLES, GraphEntry, Precision
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.drivers.row_graph import LENGTHS
from voirs_vocoder.runtime.errors import InputError, ProviderError
from voirs_vocoder.runtime.files import write_whole
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import Progress, silent
from voirs_vocoder.runtime.providers import Session, get_provider, target_of
from voirs_vocoder.runtime.providers.cuda import open_shaped
from voirs_vocoder.runtime.providers.cuda_tuning import (
    CudaOptions,
    CudaTuning,
    ShapeTuning,
    default_cuda_options,
    encode_cuda_tuning,
    read_cuda_tuning,
)
from voirs_vocoder.runtime.providers.device_memory import CPU_DEVICE, Device, device_name
from voirs_vocoder.runtime.providers.session import bound_by_copying
from voirs_vocoder.runtime.streaming.graph_stream import END_FRAME, UNKNOWN_END

__all__ = [
    "GpuTuningReport",
    "MeasuredShape",
    "candidate_options",
    "default_tuning_file",
    "gpu_table",
    "record_gpu_tuning",
    "tune_gpu",
    "tune_shape",
]

_STREAM_FRAMES = 16
# A choice must be this much faster than the default one to replace it: less is noise.
_LEAST_GAIN = 1.03
_LEAST_RUNS, _MOST_RUNS = 5, 200


class MeasuredShape(msgspec.Struct, frozen=True, kw_only=True):
    """A shape of a graph with the choice that was fastest.

    Attributes:
        role: Role of the graph, such as `batch`.
        batch: Number of rows.
        frames: Length in mel frames.
        tuning: The choice and its times.
        refused: Choices that did not run, or computed something else, with the reason.
    """

    role: str
    batch: int
    frames: int
    tuning: ShapeTuning
    refused: dict[str, str]


class GpuTuningReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the tuning of a GPU measured.

    Attributes:
        precision: Precision of the graphs.
        device: Name of the GPU.
        backend: Library and version.
        shapes: All shapes, in the order in which they were measured.
    """

    precision: Precision
    device: str
    backend: str
    shapes: tuple[MeasuredShape, ...]


def default_tuning_file() -> Path:
    """The file in the user's cache folder that `tune` writes where no other one is named."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "voirs-vocoder" / "gpu-tuning.json"


def candidate_options(precision: Precision, *, cuda_graphs: bool) -> tuple[CudaOptions, ...]:
    """The choices to compare, the default one first.

    Args:
        precision: Precision of the graph.
        cuda_graphs: Whether kernels may be recorded.
    """
    every = [
        CudaOptions(search=search, channels_last=channels_last, cuda_graph=cuda_graph)
        for cuda_graph in ((True, False) if cuda_graphs else (False,))
        for search in ("heuristic", "exhaustive")
        for channels_last in (False, True)
    ]
    return tuple(dict.fromkeys((default_cuda_options(precision, cuda_graphs=cuda_graphs), *every)))


def tune_gpu(
    root: Path,
    precision: Precision,
    config: SessionConfig | None = None,
    *,
    provider: str = "cuda",
    budget_s: float = 0.3,
    progress: Progress = silent,
) -> GpuTuningReport:
    """Measure every choice for every bucket, and for a usual chunk of streams.

    Args:
        root: Directory of the artifact.
        precision: Precision of the graphs.
        config: Device, buckets and memory of the sessions; None takes the defaults.
        provider: `cuda`; or `cpu`, on which all choices are equal, to try this without a GPU.
        budget_s: Time to spend on each choice for a shape, in seconds, once it is prepared.
        progress: Receives the number of shapes that are done.

    Raises:
        InputError: No graph of the artifact runs in buckets.
        ArtifactError: The artifact is damaged.
        ProviderError: The provider cannot run on this machine, or runs no choice for a shape.
    """
    config = config or SessionConfig()
    problem = get_provider(provider).problem()
    if problem is not None:
        raise ProviderError(f"provider {provider!r} cannot run: {problem}")
    artifact = Artifact.open(root)
    shapes = _shapes(artifact, precision, provider, config)
    if not shapes:
        raise InputError(
            f"{root}: a graph that takes lengths is needed, there is none; export the artifact again"
        )
    measured = []
    for number, (entry, batch, frames) in enumerate(shapes):
        progress(f"{entry.role}: {batch} x {frames} frames", number, len(shapes))
        graph = artifact.read_graph(entry)
        hop_length = artifact.manifest.hop_length
        measured.append(
            tune_shape(graph, entry, config, hop_length, batch, frames, provider=provider, budget_s=budget_s)
        )
    progress("measured", 1, 1)
    first = measured[0].tuning
    return GpuTuningReport(
        precision=precision, device=first.device, backend=first.backend, shapes=tuple(measured)
    )


def tune_shape(
    graph: bytes,
    entry: GraphEntry,
    config: SessionConfig,
    hop_length: int,
    batch: int,
    frames: int,
    *,
    provider: str = "cuda",
    budget_s: float = 0.3,
    measure: Callable[[Callable[[], object], float], float] | None = None,
) -> MeasuredShape:
    """Measure every choice for one shape of a graph, one after the other.

    Args:
        graph: The verified ONNX model.
        entry: Manifest entry of the graph.
        config: Device, memory and precision of the sessions.
        hop_length: Audio samples per mel frame.
        batch: Number of rows.
        frames: Length in mel frames.
        provider: `cuda`, or `cpu` to try this without a GPU.
        budget_s: Time to spend on each choice, in seconds, once it is prepared.
        measure: Returns the time of one call in milliseconds, given the call and `budget_s`; None takes the median.

    Returns:
        The fastest choice; the default one unless another is faster by 3%. A choice whose output differs from that of
        the default one by more than two backends may differ in this precision is left out.

    Raises:
        ProviderError: The default choice does not run.
    """
    inputs = _inputs(entry, hop_length, batch, frames)
    limit_db = get_precision(entry.precision).same_graph_snr_db
    times: dict[CudaOptions, float] = {}
    refused: dict[str, str] = {}
    wanted: Mapping[str, NDArray[np.float32]] | None = None
    backend = ""
    for options in candidate_options(entry.precision, cuda_graphs=config.cuda_graphs):
        session = open_shaped(graph, entry, config, hop_length, provider, options)
        backend = session.backend
        try:
            results = session.run(inputs)
            wanted = results if wanted is None else wanted
            worst_db = min(_snr_db(wanted[name], results[name]) for name in wanted)
            if worst_db < limit_db:
                refused[_words(options)] = (
                    f"must agree with the default choice within {limit_db:g} dB, got {worst_db:.1f}"
                )
                continue
            times[options] = (measure or _median_ms)(partial(session.run, inputs), budget_s)
        except ProviderError as error:
            if wanted is None:
                raise
            refused[_words(options)] = str(error)
        finally:
            session.close()
    default, default_ms = next(iter(times.items()))
    best = min(times, key=lambda options: times[options])
    if times[best] * _LEAST_GAIN > default_ms:
        best = default
    device = CPU_DEVICE if provider == "cpu" else Device(provider, config.device)
    tuning = ShapeTuning(
        graph_sha256=entry.file.sha256,
        device=device_name(device),
        backend=backend,
        tf32=config.tf32,
        dimensions={
            axis: size
            for tensor in entry.inputs
            for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
            if isinstance(axis, str)
        },
        options=best,
        default_ms=default_ms,
        best_ms=times[best],
    )
    return MeasuredShape(role=entry.role, batch=batch, frames=frames, tuning=tuning, refused=refused)


def record_gpu_tuning(path: Path, report: GpuTuningReport) -> None:
    """Write the choices into a file, which keeps those for other graphs, shapes and GPUs.

    Args:
        path: The file for `SessionConfig.gpu_tuning`; it need not exist.
        report: What was measured.

    Raises:
        InputError: The file is there and is no such file, or it cannot be written.
    """
    earlier = read_cuda_tuning(path) if path.exists() else CudaTuning()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot make its folder: {error.strerror}; choose another file") from error
    write_whole(path, encode_cuda_tuning(earlier.updated(tuple(shape.tuning for shape in report.shapes))))


def gpu_table(report: GpuTuningReport) -> list[list[str]]:
    """Rows of a table of the measured shapes, the header first.

    Args:
        report: What was measured.
    """
    rows = [["graph", "rows", "frames", "default ms", "best ms", "fastest choice"]]
    for shape in report.shapes:
        tuning = shape.tuning
        times = [f"{tuning.default_ms:.2f}", f"{tuning.best_ms:.2f}"]
        rows.append([shape.role, str(shape.batch), str(shape.frames), *times, _words(tuning.options)])
    return rows


class _ShapeRecorder:
    """A session that computes nothing and remembers the shapes that it is run in. See `Session`."""

    backend = "none"
    max_frames: int | None = None
    max_batch: int | None = None

    def __init__(self, provider: str, entry: GraphEntry, hop_length: int) -> None:
        self.provider = provider
        self.shapes: list[tuple[int, int]] = []
        self._entry = entry
        self._hop_length = hop_length
        self._declared = DeclaredShapes(entry, hop_length)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        sizes = [
            axis_frames(axis, size, self._hop_length)
            for tensor in self._entry.inputs
            for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
        ]
        frames = next(size for size in sizes if size is not None)
        self.shapes.append((inputs[LENGTHS].shape[0], frames))
        return {name: np.zeros(shape, np.float32) for name, shape in self._declared.outputs(inputs).items()}

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        return bound_by_copying(self, inputs, outputs)

    def close(self) -> None:
        """Free nothing."""


def _shapes(
    artifact: Artifact, precision: Precision, provider: str, config: SessionConfig
) -> list[tuple[GraphEntry, int, int]]:
    """The shapes that the driver of an artifact prepares on a provider: graph, rows, mel frames."""
    target = target_of(artifact, precision, provider)
    held = {graph.role for graph in artifact.manifest.graphs if graph.precision == precision}
    hop_length = artifact.manifest.hop_length
    opened: list[tuple[GraphEntry, _ShapeRecorder]] = []

    def opener(role: str) -> tuple[Session, GraphEntry]:
        in_rows = BATCH_ROLES.get(role, role)
        entry = artifact.graph(in_rows if in_rows in held else role, precision, target)
        opened.append((entry, _ShapeRecorder(provider, entry, hop_length)))
        return opened[-1][1], entry

    driver = open_driver(artifact.manifest, opener, dataclasses.replace(config, warm=True))
    driver.warm()
    driver.close()
    found = [(entry, *shape) for entry, recorder in opened for shape in recorder.shapes]
    found += [
        (artifact.graph(role, precision, target), 1, _STREAM_FRAMES)
        for role in dict.fromkeys(STREAM_ROLES.values())
        if role in held and found
    ]
    return found


def _inputs(entry: GraphEntry, hop_length: int, batch: int, frames: int) -> dict[str, NDArray[np.generic]]:
    """Inputs of a shape: noise for what is a float, whole rows in the midst of an utterance."""
    generator = np.random.default_rng(0)
    integers = {LENGTHS: frames, END_FRAME: UNKNOWN_END}
    inputs: dict[str, NDArray[np.generic]] = {}
    for tensor in entry.inputs:
        shape = [axis_size(axis, batch=batch, frames=frames, hop_length=hop_length) for axis in tensor.shape]
        if tensor.dtype == "int64":
            inputs[tensor.name] = np.full(shape, integers.get(tensor.name, 0), np.int64)
        else:
            inputs[tensor.name] = generator.standard_normal(shape).astype(tensor.dtype)
    return inputs


def _snr_db(wanted: NDArray[np.float32], result: NDArray[np.float32]) -> float:
    return snr_db(wanted.reshape(-1), result.reshape(-1))


def _median_ms(run: Callable[[], object], budget_s: float) -> float:
    run()
    started_s = time.perf_counter()
    run()
    once_s = time.perf_counter() - started_s
    durations_ms = []
    for _ in range(int(np.clip(budget_s / max(once_s, 1e-6), _LEAST_RUNS, _MOST_RUNS))):
        started_s = time.perf_counter()
        run()
        durations_ms.append(1e3 * (time.perf_counter() - started_s))
    return float(np.median(durations_ms))


def _words(options: CudaOptions) -> str:
    layout = "channels last" if options.channels_last else "channels first"
    return f"{options.search}, {layout}, {'CUDA graph' if options.cuda_graph else 'no CUDA graph'}"
