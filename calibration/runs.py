"""Runs of a graph in ONNX Runtime, with its outputs or any of its tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from voirs_vocoder.runtime.config import default_threads
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Feed", "Outputs", "observe", "profiled", "run_all"]

Feed = Mapping[str, NDArray[np.generic]]
"""A graph's inputs for one run, by name."""

Outputs = Sequence[Sequence[NDArray[np.float32]]]
"""A graph's outputs in order, run by run."""


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Feed]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run the graph and return inner tensors. Those of one run are in memory at a time.

    Args:
        model: Graph to run; it is not changed.
        tensors: Names of float tensors of the graph.
        feeds: Inputs of the graph, run by run.

    Yields:
        For each feed, the values of every tensor by name.

    Raises:
        InputError: A feed does not fit the graph, or ONNX Runtime does not take the graph.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {value.name for value in tapped.graph.output}
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in tensors
        if name not in known
    )
    runner = _session(tapped, optimize=True)
    for number, feed in enumerate(feeds):
        yield dict(zip(tensors, _run(runner, list(tensors), feed, number), strict=True))


def run_all(model: onnx.ModelProto, feeds: Sequence[Feed]) -> Outputs:
    """The graph's outputs for each feed, computed without optimization, so that every operator rounds as written.

    Args:
        model: Graph to run; it is not changed.
        feeds: Inputs of the graph, run by run.

    Raises:
        InputError: A feed does not fit the graph, or ONNX Runtime does not take the graph.
    """
    runner = _session(model, optimize=False)
    return [_run(runner, None, feed, number) for number, feed in enumerate(feeds)]


def profiled(model: onnx.ModelProto, feed: Feed, *, runs: int, threads: int) -> bytes:
    """The profile that ONNX Runtime writes of several runs of the optimized graph, JSON.

    Args:
        model: Graph to run; it is not changed.
        feed: Inputs of every run.
        runs: Number of runs.
        threads: Worker threads of the session.

    Raises:
        InputError: The feed does not fit the graph, or ONNX Runtime does not take the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        runner = _session(model, optimize=True, threads=threads, profile=Path(folder) / "profile")
        try:
            for number in range(runs):
                _run(runner, None, feed, number)
        finally:
            path = Path(runner.end_profiling())
        return path.read_bytes()


def _run(
    runner: onnxruntime.InferenceSession, names: list[str] | None, feed: Feed, number: int
) -> list[NDArray[np.float32]]:
    try:
        values: list[NDArray[np.float32]] = runner.run(names, dict(feed))
    except MemoryError:
        raise
    except Exception as error:  # pybind11 raises classes of its own below Exception
        raise InputError(
            f"calibration run {number} does not fit the graph ({' '.join(str(error).split())}); "
            "check the inputs' names, types and shapes"
        ) from error
    return values


def _session(
    model: onnx.ModelProto, *, optimize: bool, threads: int | None = None, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or default_threads() or 0
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # as above
        raise InputError(
            f"ONNX Runtime does not take the graph ({' '.join(str(error).split())}); export the artifact again"
        ) from error
