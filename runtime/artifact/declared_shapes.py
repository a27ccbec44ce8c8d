"""Shapes of a graph's outputs, by its manifest entry and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.axes import parsed_axis
from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.records import TensorInfo
from voirs_vocoder.runtime.errors import ArtifactError, InputError

__all__ = ["DeclaredShapes"]

_Axis = tuple[int, str | None]


class DeclaredShapes:
    """Compares the inputs of a graph with its manifest entry, and computes the shapes of its outputs.

    Args:
        entry: Manifest entry of the graph.
        hop_length: Audio samples per mel frame.

    Raises:
        ArtifactError: The manifest names an axis that this version does not know, or an output whose size does not
            follow from an input's.
    """

    def __init__(self, entry: GraphEntry, hop_length: int) -> None:
        self._entry = entry
        self._hop_length = hop_length
        self._inputs = [(tensor, _axes(tensor)) for tensor in entry.inputs]
        self._outputs = [(tensor.name, _axes(tensor)) for tensor in entry.outputs]
        known = {name for _, axes in self._inputs for _, name in axes}
        known |= {"frames", "samples"} if known & {"frames", "samples"} else set()
        if not {name for _, axes in self._outputs for _, name in axes} <= known | {None}:
            raise ArtifactError(
                f"{entry.file.path}: the length of every output must follow from an input's, got axes that no input "
                "has; export the artifact again"
            )

    def outputs(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[int, ...]]:
        """Compute the shape of each output.

        Args:
            inputs: One array per graph input.

        Raises:
            InputError: The inputs are not those that the manifest states.
        """
        sizes: dict[str, int] = {}
        if len(inputs) != len(self._inputs):
            raise self._other_inputs(inputs)
        for tensor, axes in self._inputs:
            array = inputs.get(tensor.name)
            if array is None or array.ndim != len(axes) or array.dtype != tensor.dtype:
                raise self._other_inputs(inputs)
            for (multiple, name), size in zip(axes, array.shape, strict=True):
                count, rest = divmod(size, multiple) if name else (size, size != multiple)
                if rest or (name and sizes.setdefault(name, count) != count):
                    raise self._other_inputs(inputs)
        if "frames" in sizes:
            sizes.setdefault("samples", sizes["frames"] * self._hop_length)
        elif "samples" in sizes:
            sizes["frames"] = sizes["samples"] // self._hop_length
        return {
            name: tuple(multiple * sizes[axis] if axis else multiple for multiple, axis in axes)
            for name, axes in self._outputs
        }

    def _other_inputs(self, inputs: Mapping[str, NDArray[np.generic]]) -> InputError:
        stated = ", ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in self._entry.inputs)
        given = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in inputs.items())
        return InputError(f"{self._entry.file.path} takes {stated}, got {given}; pass such arrays")


def _axes(tensor: TensorInfo) -> list[_Axis]:
    return [(axis, None) if isinstance(axis, int) else parsed_axis(axis) for axis in tensor.shape]
