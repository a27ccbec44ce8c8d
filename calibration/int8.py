"""From an FP32 graph to an INT8 one: equalize, measure ranges, find what must stay float, write the graph."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from voirs_vocoder.calibration.activation_ranges import (
    ChannelScales,
    TensorScale,
    asymmetric_scale,
    channel_scales,
    symmetric_scale,
)
from voirs_vocoder.calibration.bias_correction import correct_biases
from voirs_vocoder.calibration.config import Int8Config, RangeMethod
from voirs_vocoder.calibration.edits.half_weights import HalfStoredWeightsPass
from voirs_vocoder.calibration.edits.integer_gates import IntegerGatesPass, gate_of_sum, gate_scales
from voirs_vocoder.calibration.edits.length_invariant_sums import LengthInvariantSumsPass
from voirs_vocoder.calibration.edits.qdq import QdqFromFp32Pass, Scales, convolution_sums
from voirs_vocoder.calibration.edits.reading import (
    attribute,
    graph_of,
    initializer,
    input_at,
    name_of,
    nodes_by_name,
    sole_reader,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.equalization import channel_groups, equalize
from voirs_vocoder.calibration.histograms import ChannelHistogram, FloatHistogram, float_histograms
from voirs_vocoder.calibration.rounding import learned_weights
from voirs_vocoder.calibration.runs import Feed, Outputs, run_all
from voirs_vocoder.calibration.sensitivity import (
    costliest_noise,
    multiply_accumulates,
    noise_of_each,
)
from voirs_vocoder.runtime.artifact.manifest import Figures, Target
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import max_abs_error, snr_db
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["Int8Recipe", "Int8Result", "int8_from_fp32"]

_EQUALITY = 1e-4


@dataclass(frozen=True)
class Int8Result:
    """An INT8 graph.

    Attributes:
        model: INT8 graph, with the inputs and outputs of the FP32 graph.
        quantized_convolutions: Number of convolutions that are quantized.
        details: `float_by_width` (number of convolutions left float because of `Int8Config.min_channels`),
            `float_by_noise` (names of the convolutions left float because of their noise, separated by blanks),
            `float_by_choice` (names in `Int8Config.float_convolutions`, separated by blanks), `noise_measured` (False
            where `Int8Config.max_probe_macs`, a `max_float_share` of 0 or chosen convolutions forbade it),
            `float_share` (share of those in the arithmetic of the convolutions that are wide enough),
            `equalized_groups` (number of groups of channels), `ranges`, `bias_correction` and `rounding` (as
            configured) and `probe_snr_db` (SNR in dB against FP32 over the probe runs; None when the outputs are
            equal).
    """

    model: onnx.ModelProto
    quantized_convolutions: int
    details: Figures


def int8_from_fp32(
    model: onnx.ModelProto,
    feeds: Sequence[Feed],
    target: Target,
    float_parts: Sequence[str],
    config: Int8Config | None = None,
    progress: Progress = silent,
) -> Int8Result:
    """Quantize the convolutions of a graph.

    Only Conv is quantized: neither ONNX Runtime nor TensorRT gains by an INT8 ConvTranspose, and everything else is
    a small part of a vocoder.

    Args:
        model: Flat FP32 graph with named nodes, opset 13 or later; it is not changed.
        feeds: Inputs of the runs that ranges are measured on, each as large as memory allows for the activations of
            one run. Noise is measured on the first run of each of `Int8Config.probe_runs` equal parts.
        target: `cpu` for ONNX Runtime's CPU provider: uint8 activations, int8 weights, int32 biases, and half precision
            as the storage of weights that stay float. `tensorrt`: int8 activations and weights with zero point 0, and
            float biases.
        float_parts: Shell-style patterns of nodes that stay float.
        config: Parameters of the quantization; None takes the defaults.
        progress: Receives the current task, the number of its parts that are done, and the number of parts.

    Returns:
        The graph and what was decided. The same arguments give the same bytes.

    Raises:
        InputError: There are no feeds, one does not fit the graph or makes it overflow, a pattern matches no node,
            or nothing is left to quantize.
        GraphEditError: A pass refused the graph or broke its promise.
    """
    config = config or Int8Config()
    recipe = Int8Recipe.measured(model, feeds, target, float_parts, config, progress)
    names, costs, probes = recipe.names, recipe.costs, recipe.probes
    if config.float_convolutions is None:
        affordable = sum(costs.values()) * len(names) * len(probes) <= config.max_probe_macs
        measured = bool(config.max_float_share) and affordable
        noise = noise_of_each(recipe.unfinished_graph, names, probes, progress) if measured else {}
        left_float = costliest_noise(noise, costs, config.max_float_share)
    else:
        measured = False
        left_float = list(config.float_convolutions)
    result = recipe.graph(left_float)
    quality_db = snr_db(_samples(recipe.reference), _samples(run_all(result, probes)))
    chosen = config.float_convolutions is not None
    details: Figures = {
        "float_by_width": recipe.float_by_width,
        "float_by_noise": "" if chosen else " ".join(left_float),
        "float_by_choice": " ".join(left_float) if chosen else "",
        "noise_measured": measured,
        "float_share": sum(costs[name] for name in left_float) / sum(costs.values()),
        "equalized_groups": recipe.equalized_groups,
        "ranges": config.ranges,
        "bias_correction": config.bias_correction,
        "rounding": config.rounding,
        "probe_snr_db": quality_db if np.isfinite(quality_db) else None,
    }
    return Int8Result(result, len(names) - len(left_float), details)


@dataclass(frozen=True, eq=False)
class Int8Recipe:
    """What is measured once of a graph, from which INT8 graphs are made that leave any convolutions float.

    Attributes:
        names: Names of the convolutions that can be quantized, in the order of the graph.
        costs: Multiply-accumulates of each of these convolutions in one probe run, by name.
        probes: Inputs of the runs that noise is measured on.
        reference: Outputs of the FP32 graph on the probe runs.
        float_by_width: Number of convolutions that stay float because of `Int8Config.min_channels`.
        equalized_groups: Number of groups of channels that were equalized.
    """

    names: tuple[str, ...]
    costs: Mapping[str, int]
    probes: Sequence[Feed]
    reference: Outputs
    float_by_width: int
    equalized_groups: int
    _model: onnx.ModelProto
    _scales: Scales
    _integers: Mapping[str, NDArray[np.int8]]
    _target: Target

    @classmethod
    def measured(
        cls,
        model: onnx.ModelProto,
        feeds: Sequence[Feed],
        target: Target,
        float_parts: Sequence[str],
        config: Int8Config,
        progress: Progress = silent,
    ) -> Int8Recipe:
        """Equalize channels and measure ranges; learn weights and biases as `config` requires.

        Args:
            model: Flat FP32 graph with named nodes, opset 13 or later; it is not changed.
            feeds: Inputs of the runs that ranges are measured on.
            target: Kind of backend that graphs are made for.
            float_parts: Shell-style patterns of nodes that stay float.
            config: Parameters of the quantization; `max_float_share` and `float_convolutions` have no effect.
            progress: Receives the current task, the number of its parts that are done, and the number of parts.

        Raises:
            InputError: There are no feeds, one does not fit the graph or makes it overflow, a pattern matches no node,
                or there is nothing to quantize.
            GraphEditError: A pass refused the graph or broke its promise.
        """
        if not feeds:
            raise InputError("calibration needs at least one run, got none; give recordings")
        possible = _quantizable(model, float_parts)
        names = _wide(model, possible, config.min_channels) or possible
        probes = [
            feeds[i * len(feeds) // config.probe_runs] for i in range(min(config.probe_runs, len(feeds)))
        ]
        groups = channel_groups(model)
        progress("equalizing channels", 0, 0)
        equalized = equalize(model, groups, feeds, config.equalization_exponent)
        reference = run_all(model, probes)
        _require_equal(reference, run_all(equalized, probes))
        progress("measuring ranges", 0, 0)
        scales = _scales(equalized, names, feeds, target, config.ranges)
        learned = config.rounding == "learned"
        integers = (
            learned_weights(equalized, names, scales.inputs, feeds, target, progress) if learned else {}
        )
        if config.bias_correction:
            progress("correcting biases", 0, 0)
            to_quantize = correct_biases(equalized, names, scales.inputs, feeds, target, integers)
        else:
            to_quantize = equalized
        return cls(
            names=tuple(names),
            costs=multiply_accumulates(equalized, names, probes[0]),
            probes=probes,
            reference=reference,
            float_by_width=len(possible) - len(names),
            equalized_groups=len(groups) if config.equalization_exponent else 0,
            _model=to_quantize,
            _scales=scales,
            _integers=integers,
            _target=target,
        )

    def graph(self, float_convolutions: Collection[str]) -> onnx.ModelProto:
        """The INT8 graph in its final form.

        Args:
            float_convolutions: Names of the convolutions that stay float, of `names`.

        Raises:
            InputError: A name is none of `names`.
            GraphEditError: A pass refused the graph or broke its promise.
        """
        unknown = sorted(frozenset(float_convolutions) - frozenset(self.names))
        if unknown:
            raise InputError(
                f"only a convolution that can be quantized can be chosen to stay float, got {unknown[0]!r}; choose "
                f"among {', '.join(self.names[:3])} and the others that `Int8Recipe.names` lists"
            )
        for_cpu = self._target == "cpu"
        finish = [LengthInvariantSumsPass(None), HalfStoredWeightsPass()] if for_cpu else []
        return self._made(frozenset(self.names) - frozenset(float_convolutions), finish)

    def unfinished_graph(self, quantized: frozenset[str]) -> onnx.ModelProto:
        """The graph in which exactly the named convolutions are quantized, without the edits that change no value."""
        return self._made(quantized, [])

    def _made(self, quantized: frozenset[str], finish: Sequence[ir.passes.InPlacePass]) -> onnx.ModelProto:
        gates = [IntegerGatesPass()] if self._target == "cpu" else []
        quantize = QdqFromFp32Pass(quantized, self._scales, self._target, self._integers)
        return run_passes(self._model, [quantize, *gates, *finish])


def _quantizable(model: onnx.ModelProto, float_parts: Sequence[str]) -> list[str]:
    nodes = list(graph_of(model))
    for pattern in float_parts:
        if not any(fnmatch.fnmatchcase(name_of(node), pattern) for node in nodes):
            raise InputError(
                f"no node matches {pattern!r}, which is to stay float; nodes bear the names of their modules, such as "
                f"{', '.join(name_of(node) for node in nodes[:3])}"
            )
    names = [
        name_of(node)
        for node in nodes
        if node.op_type == "Conv"
        and all(value.is_initializer() for value in node.inputs[1:] if value is not None)
        and not any(fnmatch.fnmatchcase(name_of(node), pattern) for pattern in float_parts)
    ]
    if not names:
        raise InputError(
            "quantization needs a Conv with constant weights that may leave float, found none; "
            f"relax the patterns {list(float_parts)}"
        )
    return names


def _wide(model: onnx.ModelProto, names: Sequence[str], min_channels: int) -> list[str]:
    """The convolutions with at least so many input or output channels."""
    wide = []
    for node in nodes_by_name(graph_of(model), names):
        weight = initializer(input_at(node, 1))
        assert weight is not None  # noqa: S101 - quantizable convolutions have constant weights
        outputs, inputs = weight.shape[0], weight.shape[1] * int(attribute(node, "group", 1))
        if max(outputs, inputs) >= min_channels:
            wide.append(name_of(node))
    return wide


def _scales(
    model: onnx.ModelProto,
    names: Sequence[str],
    feeds: Sequence[Feed],
    target: Target,
    method: RangeMethod,
) -> Scales:
    graph = graph_of(model)
    chosen = frozenset(names)
    nodes = nodes_by_name(graph, chosen)
    inputs = {name_of(node.inputs[0]): FloatHistogram() for node in nodes}
    made = {name_of(node.outputs[0]): node.outputs[0] for node in nodes}
    outputs = {name: _output_histogram(value) for name, value in made.items() if target == "cpu"}
    totals = convolution_sums(graph, chosen) if target == "cpu" else {}
    gates = {total: gate for total in totals if (gate := gate_of_sum(graph, total)) is not None}
    sums = {total: ChannelHistogram() for total in totals if total not in gates}
    halves = {half: FloatHistogram() for gate in gates.values() for half in gate.halves}
    float_histograms(model, [*inputs.items(), *outputs.items(), *sums.items(), *halves.items()], feeds)

    def scale(histogram: FloatHistogram) -> TensorScale:
        if target == "cpu":
            return asymmetric_scale(histogram, method=method)
        return symmetric_scale(histogram, method)

    return Scales(
        inputs={name: scale(histogram) for name, histogram in inputs.items()},
        outputs={name: _output_scale(made[name], histogram, method) for name, histogram in outputs.items()},
        sums={
            **{name: channel_scales(histogram, method) for name, histogram in sums.items()},
            **{
                total: gate_scales(
                    gate,
                    [halves[half] for half in gate.halves],
                    _channels(made[totals[total][0]]),
                    method,
                )
                for total, gate in gates.items()
            },
        },
    )


def _channels(convolved: ir.Value) -> int:
    producer = convolved.producer()
    weight = None if producer is None else initializer(input_at(producer, 1))
    assert weight is not None  # noqa: S101 - the output of a quantizable convolution
    return int(weight.shape[0])


def _output_histogram(output: ir.Value) -> FloatHistogram | ChannelHistogram:
    return ChannelHistogram() if _only_leaky_slope(output) is None else FloatHistogram()


def _output_scale(
    output: ir.Value, histogram: FloatHistogram | ChannelHistogram, method: RangeMethod
) -> TensorScale | ChannelScales:
    """Errors below zero matter less where a LeakyRelu alone reads the tensor; it also needs a single scale to fuse."""
    if isinstance(histogram, ChannelHistogram):
        return channel_scales(histogram, method)
    return asymmetric_scale(histogram, _only_leaky_slope(output) or 0.0, method)


def _only_leaky_slope(value: ir.Value) -> float | None:
    """The slope of the LeakyRelu that alone reads a value; None if there is none."""
    reader = sole_reader(value)
    if reader is not None and reader.op_type == "LeakyRelu":
        return attribute(reader, "alpha", 0.01)
    return None


def _samples(outputs: Outputs) -> NDArray[np.float32]:
    return np.concatenate([output.reshape(-1) for one_run in outputs for output in one_run])


def _require_equal(reference: Outputs, outputs: Outputs) -> None:
    largest = max_abs_error(_samples(reference), _samples(outputs))
    if not largest <= _EQUALITY:
        raise InputError(
            f"equalization must keep the output within {_EQUALITY:g}, it moved by {largest:g}; check that the graph's "
            "outputs are finite, or set equalization_exponent to 0"
        )
