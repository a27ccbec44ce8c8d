"""From a GraphSpec to an ONNX model: export, check for narrowed ranges, simplify, name nodes, strip metadata."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxsim
import torch
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes import (
    ConstantShapesPass,
    NameNodesPass,
    PolynomialFromCosPass,
    SetModelMetadataPass,
    StripExporterMetadataPass,
    run_passes,
)
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec

__all__ = ["OPSET", "example_inputs", "onnx_from_torch"]

OPSET = 20

_MAX_BATCH = 1 << 10
_MAX_LENGTH = 1 << 24
_TRACED_SIZES = {"batch": 2}
_TRACED_LENGTH = 24
_MULTIPLE = re.compile(r"(?P<axis>[A-Za-z_]+)(?:\*(?P<factor>[0-9]+))?")


def onnx_from_torch(spec: GraphSpec, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Export one graph.

    Args:
        spec: Graph to export. Every dynamic axis of its inputs accepts any size from 1 upwards.
        metadata: Model properties to record in the graph.

    Returns:
        The FP32 model, whose nodes have the names of their modules. Equal arguments give equal bytes.

    Raises:
        ExportError: The exporter failed, narrowed a dynamic axis, or the result does not pass onnx.checker.
    """
    examples = example_inputs(spec, _TRACED_SIZES, _TRACED_LENGTH, seed=0)
    arguments = tuple(torch.from_numpy(value) for value in examples.values())
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                spec.module,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                dynamic_shapes=_dynamic_shapes(spec),
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        raise ExportError(f"graph {spec.role!r}: torch.onnx could not export it: {error}") from error
    if program is None:
        raise ExportError(f"graph {spec.role!r}: torch.onnx returned no program")
    _require_full_ranges(spec, program.exported_program)
    model = program.model_proto
    delivered = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if delivered != OPSET:
        raise ExportError(
            f"graph {spec.role!r}: opset {OPSET} was asked for, torch.onnx delivered {delivered}"
        )
    simplified, agrees = onnxsim.simplify(model)
    if not agrees:
        raise ExportError(
            f"graph {spec.role!r}: onnxsim changed what the graph computes; report it to onnxsim"
        )
    passes = [
        ConstantShapesPass(),
        NameNodesPass(),
        PolynomialFromCosPass(),
        StripExporterMetadataPass(),
        SetModelMetadataPass(metadata),
    ]
    finished = run_passes(simplified, passes)
    onnx.shape_inference.infer_shapes(finished, check_type=True, strict_mode=True, data_prop=True)
    return finished


def example_inputs(
    spec: GraphSpec, sizes: Mapping[str, int], length: int, seed: int
) -> dict[str, NDArray[np.generic]]:
    """Random inputs of a graph.

    Args:
        spec: Graph whose inputs decide shapes, types, and mean and deviation of the values.
        sizes: Name of an axis to its size.
        length: Size of every dynamic axis that `sizes` does not name.
        seed: Seed of the random generator.

    Returns:
        Input name to array.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, NDArray[np.generic]] = {}
    for tensor in spec.inputs:
        shape = [_size(axis, sizes, length) for axis in tensor.shape]
        values = rng.normal(tensor.example_mean, tensor.example_std, shape)
        inputs[tensor.name] = values.astype(np.dtype(tensor.dtype))
    return inputs


def _size(axis: int | str, sizes: Mapping[str, int], length: int) -> int:
    if isinstance(axis, int):
        return axis
    name, factor = _parse(axis)
    return sizes.get(name, length) * factor


def _parse(axis: str) -> tuple[str, int]:
    match = _MULTIPLE.fullmatch(axis)
    if match is None:
        raise ExportError(f"a dynamic axis is a name or a multiple such as 'frames*256', got {axis!r}")
    return match["axis"], int(match["factor"] or 1)


def _dynamic_shapes(spec: GraphSpec) -> tuple[dict[int, object], ...]:
    dims: dict[str, object] = {}

    def dim(axis: str) -> object:
        name, factor = _parse(axis)
        if name not in dims:
            largest = _MAX_BATCH if name == "batch" else _MAX_LENGTH
            dims[name] = torch.export.Dim(name, min=1, max=largest)
        return dims[name] if factor == 1 else factor * dims[name]  # type: ignore[operator]

    return tuple({axis: dim(name) for axis, name in tensor.dynamic_axes.items()} for tensor in spec.inputs)


def _require_full_ranges(spec: GraphSpec, program: torch.export.ExportedProgram | None) -> None:
    """Refuse a graph whose axes the exporter narrowed, which it does without a warning.

    torch.onnx retries a failed export with "suggested fixes" that turn a branch on the length into a smaller range.
    """
    if program is None:
        raise ExportError(f"graph {spec.role!r}: torch.onnx kept no exported program to check ranges on")
    user_inputs = set(program.graph_signature.user_inputs)
    placeholders = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in user_inputs
    ]
    for tensor, node in zip(spec.inputs, placeholders, strict=True):
        for axis, name in tensor.dynamic_axes.items():
            size = node.meta["val"].shape[axis]
            where = f"graph {spec.role!r}: axis {name!r} of input {tensor.name!r}"
            if isinstance(size, int):
                raise ExportError(f"{where} was fixed to {size} by the exporter; remove branches on its size")
            _require_range(where, tensor, name, size.node.expr, program)


def _require_range(
    where: str, tensor: TensorSpec, name: str, expression: object, program: torch.export.ExportedProgram
) -> None:
    base, factor = _parse(name)
    largest = _MAX_BATCH if base == "batch" else _MAX_LENGTH
    # What the exporter states of a multiple as a whole is stricter than what it states of its axis, which it takes
    # to be at least 2 where no input has that axis alone.
    stated = {
        symbol: allowed for symbol, allowed in program.range_constraints.items() if symbol == expression
    }
    for symbol, allowed in (stated or program.range_constraints).items():
        if symbol in stated or symbol in getattr(expression, "free_symbols", ()):
            scale = factor if symbol in stated else 1
            if allowed.lower > scale or allowed.upper < largest * scale:
                raise ExportError(
                    f"{where} was narrowed to [{allowed.lower}, {allowed.upper}] by the exporter; every size from 1 "
                    f"must work, remove branches on the size of {tensor.name!r}"
                )


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's notes to its own developers; what it raises still comes through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            yield
    finally:
        logger.setLevel(level)
