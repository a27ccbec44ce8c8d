"""Weights of INT8 convolutions, rounded for the least error of what the convolutions compute.

Rounding each weight to the nearest integer ignores that errors of different weights meet in one sum. Here the integers
z of one output channel minimize |y - s z X|^2, where X are the inputs of the convolution as INT8 rounds them and y is
what the float weights make of the unrounded inputs: rounding up or down is learned as in AdaRound (Nagel et al. 2020,
arXiv 2004.10568, equation 21), and the weights make up for the rounding of activations where that is possible. The
error is quadratic in z, so the Gram matrix of X decides. Columns are rounded one after another, each error being made
up for by the columns that are left (GPTQ, Frantar et al. 2022, arXiv 2210.17323, section 3); then coordinate descent
moves single integers as long as the error falls. Channels of few weights, such as those of depthwise convolutions,
try every choice of up and down. No step is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.edits.qdq import nearest_integers, rounded_input, weight_scales
from voirs_vocoder.calibration.edits.reading import (
    attribute,
    graph_of,
    initializer,
    input_at,
    integers,
    name_of,
    nodes_by_name,
)
from voirs_vocoder.calibration.runs import Feed, observe
from voirs_vocoder.runtime.artifact.manifest import Target
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["OutputError", "learned_integers", "learned_weights"]

_LIMIT = 127
# Of the mean of the Gram matrix's diagonal: keeps weights of inputs that calibration never excited near their floats.
_DAMPING = 0.01
# Columns whose errors are carried to the others at once.
_BLOCK = 64
_MAX_SWEEPS = 20
# A channel of so many weights tries all 2**10 choices of rounding up and down.
_FEW_WEIGHTS = 10
# Output positions per weight of a channel over all runs: enough for a Gram matrix that later speech shares.
_POSITIONS_PER_WEIGHT = 32
_LEAST_POSITIONS = 16_384
# Of Gram matrices that are gathered in one pass over the calibration runs.
_MAX_GRAM_BYTES = 512 << 20


@dataclass(frozen=True, eq=False)
class OutputError:
    """The squared error of what a group of channels computes, as a function of its weights.

    Attributes:
        gram: Products of rounded inputs, summed over positions, float64 [weights, weights].
        wanted: Products of wanted outputs and rounded inputs, float64 [outputs, weights].
        energy: Sums of squares of the wanted outputs, float64 [outputs].
    """

    gram: NDArray[np.float64]
    wanted: NDArray[np.float64]
    energy: NDArray[np.float64]

    def of(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """The error of each output channel, float64 [outputs], for weights [outputs, weights]."""
        change: NDArray[np.float64] = np.einsum("ok,ok->o", weight, weight @ self.gram - 2.0 * self.wanted)
        return self.energy + change


def learned_weights(
    model: onnx.ModelProto,
    names: Sequence[str],
    scales: Mapping[str, TensorScale],
    feeds: Sequence[Feed],
    target: Target,
    progress: Progress = silent,
) -> dict[str, NDArray[np.int8]]:
    """Integers for the weights of convolutions, by name.

    Args:
        model: FP32 graph; it is not changed.
        names: Names of the convolutions that will be quantized.
        scales: Name of each tensor that these convolutions read, to its scale.
        feeds: Inputs of the runs that the error is measured on.
        target: Kind of backend that the graph is quantized for.
        progress: Receives the current task, the number of its parts that are done, and the number of parts.

    Returns:
        For each convolution int8 in the shape of its weight, within -127 to 127. On the positions that were measured,
        no output channel has a larger error than with integers that are rounded to nearest.

    Raises:
        InputError: A feed does not fit the graph.
    """
    convolutions = [_Convolution.of(node) for node in nodes_by_name(graph_of(model), names)]
    learned: dict[str, NDArray[np.int8]] = {}
    for batch in _batches(convolutions):
        errors = _measured(model, batch, scales, feeds, target)
        for convolution in batch:
            progress("learning how to round weights", len(learned), len(convolutions))
            steps = weight_scales(convolution.weight, convolution.bias, scales[convolution.source].scale)
            learned[convolution.name] = np.concatenate(
                [
                    learned_integers(error, rows, row_scales)
                    for error, rows, row_scales in zip(
                        errors[convolution.name],
                        np.split(convolution.rows, convolution.groups),
                        np.split(steps, convolution.groups),
                        strict=True,
                    )
                ]
            ).reshape(convolution.weight.shape)
    return learned


def learned_integers(
    error: OutputError, weight: NDArray[np.float32], scales: NDArray[np.float32]
) -> NDArray[np.int8]:
    """Integers for the weights of one group of channels.

    Args:
        error: Error to minimize.
        weight: Float weights, [outputs, weights].
        scales: Step between two integers of each output channel, [outputs].

    Returns:
        Int8 [outputs, weights]. For each channel the best of rounding to nearest, of rounding with feedback, and of
        both after coordinate descent; channels of at most 10 weights are at least as good as with any choice of
        rounding up and down.
    """
    steps = scales.astype(np.float64)[:, np.newaxis]
    wide = weight.astype(np.float64)
    diagonal = np.diagonal(error.gram)
    damping = max(_DAMPING * float(diagonal.mean()), np.finfo(np.float64).tiny)
    gram = error.gram + damping * np.eye(len(diagonal))
    wanted = error.wanted + damping * wide
    nearest = nearest_integers(weight, scales).astype(np.float64)
    fed_back = _with_feedback(np.linalg.solve(gram, wanted.T).T / steps, gram)
    best, least = nearest, error.of(nearest * steps)
    starts = [nearest, fed_back]
    if len(diagonal) <= _FEW_WEIGHTS:
        starts.append(_best_of_all(wide / steps, steps, error))
    for candidate in (*starts[1:], *(_descended(each, gram, wanted / steps) for each in starts)):
        candidate_error = error.of(candidate * steps)
        better = candidate_error < least
        best = np.where(better[:, np.newaxis], candidate, best)
        least = np.minimum(candidate_error, least)
    return best.astype(np.int8)


def _with_feedback(ideal: NDArray[np.float64], gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round column after column; the columns that are left make up for each error (GPTQ, equations 2 and 3)."""
    rest = ideal.copy()
    rounded = np.empty_like(rest)
    # Row k of this factor is the spread of an error in column k over the columns behind it.
    factor = np.linalg.cholesky(np.linalg.inv(gram)).T
    columns = rest.shape[1]
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        spread = np.empty((rest.shape[0], end - start))
        for column in range(start, end):
            rounded[:, column] = np.clip(np.rint(rest[:, column]), -_LIMIT, _LIMIT)
            spread[:, column - start] = (rest[:, column] - rounded[:, column]) / factor[column, column]
            rest[:, column + 1 : end] -= np.outer(spread[:, column - start], factor[column, column + 1 : end])
        rest[:, end:] -= spread @ factor[start:end, end:]
    return rounded


def _best_of_all(
    ideal: NDArray[np.float64], steps: NDArray[np.float64], error: OutputError
) -> NDArray[np.float64]:
    """For each channel the choice of rounding up and down with the least error."""
    choices = np.array(list(np.ndindex(*[2] * ideal.shape[1])), np.float64)
    # [outputs, choices, weights]
    rounded = np.clip(np.floor(ideal)[:, np.newaxis] + choices, -_LIMIT, _LIMIT)
    weights = rounded * steps[:, np.newaxis]
    errors = np.einsum("ock,ock->oc", weights, weights @ error.gram - 2.0 * error.wanted[:, np.newaxis])
    best: NDArray[np.float64] = rounded[np.arange(len(ideal)), errors.argmin(axis=1)]
    return best


def _descended(
    integers: NDArray[np.float64], gram: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move one integer at a time to where the error is least, column after column, until none moves."""
    current = integers.copy()
    gradient = current @ gram - wanted
    columns = current.shape[1]
    for _ in range(_MAX_SWEEPS):
        moved = False
        for start in range(0, columns, _BLOCK):
            end = min(start + _BLOCK, columns)
            before = current[:, start:end].copy()
            here = gradient[:, start:end].copy()
            for column in range(start, end):
                place = column - start
                best = np.clip(
                    np.rint(current[:, column] - here[:, place] / gram[column, column]), -_LIMIT, _LIMIT
                )
                here += np.outer(best - current[:, column], gram[column, start:end])
                current[:, column] = best
            change = current[:, start:end] - before
            if change.any():
                moved = True
                gradient += change @ gram[start:end]
        if not moved:
            break
    return current


@dataclass(frozen=True, eq=False)
class _Convolution:
    name: str
    source: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    groups: int
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    rows: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.weight.reshape(len(self.weight), -1))

    @classmethod
    def of(cls, node: ir.Node) -> _Convolution:
        weight = initializer(input_at(node, 1))
        assert weight is not None  # noqa: S101 - quantizable convolutions have constant weights
        axes = weight.ndim - 2
        return cls(
            name=name_of(node),
            source=name_of(node.inputs[0]),
            weight=weight.astype(np.float32, copy=False),
            bias=initializer(input_at(node, 2)),
            groups=int(attribute(node, "group", 1)),
            strides=integers(node, "strides", [1] * axes),
            dilations=integers(node, "dilations", [1] * axes),
            pads=integers(node, "pads", [0] * (2 * axes)),
        )

    @property
    def gram_bytes(self) -> int:
        return 8 * self.groups * int(self.rows.shape[1]) ** 2

    def patches(self, values: NDArray[np.float32], positions: NDArray[np.intp]) -> NDArray[np.float32]:
        """What the weights of each group are multiplied by, [groups, weights, positions]."""
        axes = self.weight.ndim - 2
        before, behind = self.pads[:axes], self.pads[axes:]
        padded = np.pad(values, [(0, 0), (0, 0), *zip(before, behind, strict=True)])
        counts = self.output_shape(values)
        taps = []
        for tap in np.ndindex(*self.weight.shape[2:]):
            window = tuple(
                slice(start := place * dilation, start + (count - 1) * stride + 1, stride)
                for place, dilation, count, stride in zip(
                    tap, self.dilations, counts, self.strides, strict=True
                )
            )
            # [channels, batch * positions]
            flat = np.moveaxis(padded[(slice(None), slice(None), *window)], 1, 0).reshape(values.shape[1], -1)
            taps.append(flat[:, positions])
        stacked = np.stack(taps, axis=1)
        return stacked.reshape(self.groups, -1, len(positions))

    def output_shape(self, values: NDArray[np.float32]) -> list[int]:
        axes = self.weight.ndim - 2
        return [
            (size + before + behind - dilation * (kernel - 1) - 1) // stride + 1
            for size, before, behind, dilation, kernel, stride in zip(
                values.shape[2:],
                self.pads[:axes],
                self.pads[axes:],
                self.dilations,
                self.weight.shape[2:],
                self.strides,
                strict=True,
            )
        ]


def _batches(convolutions: Sequence[_Convolution]) -> Iterator[list[_Convolution]]:
    batch: list[_Convolution] = []
    held = 0
    for convolution in convolutions:
        if batch and held + convolution.gram_bytes > _MAX_GRAM_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(convolution)
        held += convolution.gram_bytes
    if batch:
        yield batch


def _measured(
    model: onnx.ModelProto,
    convolutions: Sequence[_Convolution],
    scales: Mapping[str, TensorScale],
    feeds: Sequence[Feed],
    target: Target,
) -> dict[str, list[OutputError]]:
    sources = sorted({convolution.source for convolution in convolutions})
    sums: dict[str, list[OutputError]] = {}
    for number, observed in enumerate(observe(model, sources, feeds)):
        for source in sources:
            values = observed[source]
            rounded = rounded_input(values, scales[source], target)
            for convolution in (each for each in convolutions if each.source == source):
                found = _errors(convolution, values, rounded, number, len(feeds))
                before = sums.get(convolution.name)
                sums[convolution.name] = found if before is None else list(map(_added, before, found))
    return sums


def _errors(
    convolution: _Convolution,
    values: NDArray[np.float32],
    rounded: NDArray[np.float32],
    number: int,
    runs: int,
) -> list[OutputError]:
    count = values.shape[0] * int(np.prod(convolution.output_shape(values)))
    most = max(_LEAST_POSITIONS, _POSITIONS_PER_WEIGHT * convolution.rows.shape[1]) // runs + 1
    # Every n-th position would be the same phase of an upsampled signal each time.
    positions = (
        np.arange(count)
        if count <= most
        else np.sort(np.random.default_rng(number).choice(count, most, replace=False))
    )
    errors = []
    for rows, exact, inputs in zip(
        np.split(convolution.rows, convolution.groups),
        convolution.patches(values, positions),
        convolution.patches(rounded, positions),
        strict=True,
    ):
        outputs = rows @ exact
        errors.append(
            OutputError(
                gram=(inputs @ inputs.T).astype(np.float64),
                wanted=(outputs @ inputs.T).astype(np.float64),
                energy=np.einsum("op,op->o", outputs, outputs, dtype=np.float64),
            )
        )
    return errors


def _added(first: OutputError, second: OutputError) -> OutputError:
    return OutputError(first.gram + second.gram, first.wanted + second.wanted, first.energy + second.energy)
