"""INT8 graphs of a small network in HiFi-GAN's shape: equalized exactly, quantized well, and repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.config import RANGE_METHODS, Int8Config
from voirs_vocoder.calibration.edits.half_weights import HalfStoredWeightsPass
from voirs_vocoder.calibration.edits.qdq import QdqFromFp32Pass, Scales
from voirs_vocoder.calibration.edits.qdq_linter import lint_qdq
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.equalization import channel_groups, equalize
from voirs_vocoder.calibration.int8 import int8_from_fp32
from voirs_vocoder.calibration.sensitivity import costliest_noise, relative_noise
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import snr_db

FLOAT_PARTS = ("conv_pre", "conv_post")
BANDS, CHANNELS = 8, 16


class Network:
    """Collects the nodes and weights of a graph."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], {}

    def conv(self, name, source, inputs, outputs, kernel=3, operator="Conv", gain=1.0, **attributes):
        shape = (outputs, inputs, kernel) if operator == "Conv" else (inputs, outputs, kernel)
        self.weights[f"{name}.weight"] = self.random.normal(0, gain / np.sqrt(inputs * kernel), shape)
        self.weights[f"{name}.bias"] = self.random.normal(0, 0.05, outputs)
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def op(self, operator, *inputs, **attributes):
        name = f"{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def leaky(self, source):
        return self.op("LeakyRelu", source, alpha=0.1)

    def model(self, output):
        weights = [numpy_helper.from_array(np.float32(v), k) for k, v in self.weights.items()]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", BANDS, "frames"])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None, "samples"])],
            weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def network():
    """conv_pre, one upsampling stage with three residual pairs, conv_post; channels of very different loudness."""
    net = Network()
    x = net.conv("conv_pre", "mel", BANDS, CHANNELS, 7, pads=[3, 3])
    x = net.conv("ups.0", net.leaky(x), CHANNELS, CHANNELS, 8, "ConvTranspose", strides=[4], pads=[2, 2])
    for number in range(3):
        dilation = 2 * number + 1
        pair = net.conv(
            f"convs1.{number}", net.leaky(x), CHANNELS, CHANNELS, pads=[dilation] * 2, dilations=[dilation]
        )
        net.weights[f"convs1.{number}.weight"] *= np.geomspace(0.2, 6, CHANNELS)[:, np.newaxis, np.newaxis]
        branch = net.conv(f"convs2.{number}", net.leaky(pair), CHANNELS, CHANNELS, gain=0.3, pads=[1, 1])
        x = net.op("Add", x, branch)
    net.weights["three"] = 3.0
    x = net.conv("conv_post", net.leaky(net.op("Div", x, "three")), CHANNELS, 1, 7, pads=[3, 3])
    return net.model(net.op("Tanh", x))


def make_feeds(count, frames=60, seed=1):
    random = np.random.default_rng(seed)
    return [{"mel": random.normal(0, 1, (1, BANDS, frames)).astype(np.float32)} for _ in range(count)]


def outputs_of(model, feeds):
    data = model.SerializeToString()
    runner = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.concatenate([runner.run(None, feed)[0].reshape(-1) for feed in feeds])


def quality_db(model, quantized):
    feeds = make_feeds(4, seed=99)
    return snr_db(outputs_of(model, feeds), outputs_of(quantized, feeds))


def weights_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_only_chains_from_one_convolution_to_others_are_groups(network):
    assert [(group.writer, group.readers) for group in channel_groups(network)] == [
        ("conv_pre", ("ups.0",)),
        *[(f"convs1.{number}", (f"convs2.{number}",)) for number in range(3)],
    ]


@pytest.mark.parametrize("between", ["Tanh", "output"])
def test_what_is_not_homogeneous_or_seen_from_outside_is_no_group(between):
    net = Network()
    x = net.conv("first", "mel", BANDS, CHANNELS, pads=[1, 1])
    y = net.conv("second", net.op("Tanh", x) if between == "Tanh" else x, CHANNELS, 1, pads=[1, 1])
    model = net.model(y)
    if between == "output":
        model.graph.output.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, None))
    assert channel_groups(model) == []


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_equalization_changes_weights_but_no_bit_of_the_output(network, exponent):
    feeds = make_feeds(2)
    equalized = equalize(network, channel_groups(network), feeds, exponent)
    before, after = weights_of(network), weights_of(equalized)
    changed = {name.rpartition(".")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert {"convs1.0", "convs2.0", "convs1.2", "convs2.2"} <= changed
    assert not changed & {"conv_post"}
    np.testing.assert_array_equal(outputs_of(network, feeds), outputs_of(equalized, feeds))


def test_full_equalization_brings_channel_ranges_within_a_factor_of_two(network):
    feeds = make_feeds(2)
    equalized = equalize(network, channel_groups(network), feeds, 1.0)
    equalized.graph.output.append(helper.make_tensor_value_info("convs1.1.out", TensorProto.FLOAT, None))
    runner = onnxruntime.InferenceSession(equalized.SerializeToString(), providers=["CPUExecutionProvider"])
    reader = next(node for node in equalized.graph.node if node.input[0] == "convs1.1.out")
    assert reader.op_type == "LeakyRelu"
    raw = np.concatenate([runner.run(["convs1.1.out"], feed)[0] for feed in feeds])
    ranges = np.abs(np.where(raw < 0, 0.1 * raw, raw)).max(axis=(0, 2))
    assert ranges.max() / ranges.min() <= 2.0 * 1.001


@pytest.mark.parametrize(("target", "least_db"), [("cpu", 30.0), ("tensorrt", 30.0)])
def test_int8_is_close_to_fp32(network, target, least_db):
    result = int8_from_fp32(network, make_feeds(6), target, FLOAT_PARTS, Int8Config(max_float_share=0.0))
    onnx.checker.check_model(result.model, full_check=True)
    assert result.quantized_convolutions == 6
    assert quality_db(network, result.model) >= least_db


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("ranges", RANGE_METHODS)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_every_way_to_choose_ranges_is_close_to_fp32(network, target, ranges, bias_correction):
    config = Int8Config(max_float_share=0.0, ranges=ranges, bias_correction=bias_correction)
    result = int8_from_fp32(network, make_feeds(4), target, FLOAT_PARTS, config)
    assert quality_db(network, result.model) >= 25.0
    assert (result.details["ranges"], result.details["bias_correction"]) == (ranges, bias_correction)


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_learned_rounding_is_closer_to_fp32_than_rounding_to_nearest(network, target, bias_correction):
    nearest, learned = (
        int8_from_fp32(
            network,
            make_feeds(4),
            target,
            FLOAT_PARTS,
            Int8Config(max_float_share=0.0, rounding=rounding, bias_correction=bias_correction),
        )
        for rounding in ("nearest", "learned")
    )
    assert quality_db(network, learned.model) > quality_db(network, nearest.model)
    assert learned.details["rounding"] == "learned"
    # Nothing but weights, and biases that make up for their mean error.
    parts = [weights_of(result.model) for result in (nearest, learned)]
    different = {name for name in parts[0] if not np.array_equal(parts[0][name], parts[1][name])}
    assert all(".weight." in name or ".bias." in name or name.endswith("bias") for name in different)


def test_int8_is_better_than_the_min_max_quantization_of_onnx_runtime(network, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(make_feeds(6))

        def get_next(self):
            return next(self.feeds, None)

    onnx.save(network, tmp_path / "fp32.onnx")
    quantize_static(
        tmp_path / "fp32.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=list(FLOAT_PARTS),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    naive = quality_db(network, onnx.load(tmp_path / "int8.onnx"))
    ours = int8_from_fp32(network, make_feeds(6), "cpu", FLOAT_PARTS, Int8Config(max_float_share=0.0))
    assert quality_db(network, ours.model) >= naive + 1.0


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_the_same_input_gives_the_same_bytes_and_leaves_the_model_alone(network, target):
    before = network.SerializeToString(deterministic=True)
    first, second = (int8_from_fp32(network, make_feeds(3), target, FLOAT_PARTS) for _ in range(2))
    assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(
        deterministic=True
    )
    assert first.details == second.details
    assert network.SerializeToString(deterministic=True) == before


def test_the_linter_passes_the_tensorrt_graph_and_refuses_the_cpu_graph(network):
    graphs = {
        target: int8_from_fp32(network, make_feeds(3), target, FLOAT_PARTS) for target in ("cpu", "tensorrt")
    }
    assert lint_qdq(graphs["tensorrt"].model) == []
    assert lint_qdq(graphs["cpu"].model) != []


def test_a_float_budget_leaves_the_noisiest_convolutions_float_and_gains(network):
    none, some = (
        int8_from_fp32(network, make_feeds(4), "cpu", FLOAT_PARTS, Int8Config(max_float_share=share))
        for share in (0.0, 0.4)
    )
    assert none.details["float_by_noise"] == ""
    assert len(str(some.details["float_by_noise"]).split()) == 2
    assert 0.0 < float(some.details["float_share"]) <= 0.4
    assert quality_db(network, some.model) > quality_db(network, none.model)


def test_a_network_too_large_to_measure_leaves_nothing_float_for_its_noise(network):
    config = Int8Config(max_float_share=0.4, max_probe_macs=1000)
    details = int8_from_fp32(network, make_feeds(2), "cpu", FLOAT_PARTS, config).details
    assert (details["noise_measured"], details["float_by_noise"]) == (False, "")


def test_the_noisiest_for_their_cost_are_chosen_within_the_budget():
    noise = {"a": 9.0, "b": 5.0, "c": 1.0, "d": 0.0}
    costs = {"a": 60, "b": 20, "c": 10, "d": 10}
    assert costliest_noise(noise, costs, 0.3) == ["b", "c"]
    assert costliest_noise(noise, costs, 0.8) == ["b", "a"]
    assert costliest_noise(noise, costs, 0.0) == []


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_narrow_convolutions_stay_float_unless_all_are_narrow(target):
    net = Network()
    x = net.conv("wide", "mel", CHANNELS, CHANNELS, pads=[1, 1])
    x = net.conv("narrowing", net.leaky(x), CHANNELS, 8, pads=[1, 1])
    x = net.conv("narrow", net.leaky(x), 8, 8, pads=[1, 1])
    x = net.conv("widening", net.leaky(x), 8, CHANNELS, pads=[1, 1])
    grouped = net.conv("grouped", net.leaky(x), 4, CHANNELS, pads=[1, 1], group=CHANNELS // 4)
    x = net.op("Add", x, grouped)
    model = net.model(x)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = CHANNELS
    feeds = [{"mel": np.random.default_rng(1).normal(0, 1, (1, CHANNELS, 60)).astype(np.float32)}]

    def quantized(min_channels):
        config = Int8Config(max_float_share=0.0, min_channels=min_channels)
        result = int8_from_fp32(model, feeds, target, (), config)
        made = {name: node.op_type for node in result.model.graph.node for name in node.output}
        reads = {
            node.name: made.get(node.input[0]) for node in result.model.graph.node if node.op_type == "Conv"
        }
        found = {name for name, maker in reads.items() if maker == "DequantizeLinear"}
        assert len(found) == result.quantized_convolutions
        assert len(found) + result.details["float_by_width"] == 5
        return found

    everything = {"wide", "narrowing", "narrow", "widening", "grouped"}
    assert quantized(16) == everything - {"narrow"}
    assert quantized(8) == quantized(64) == everything


def test_noise_counts_relative_to_the_signal_around_it():
    signal = np.concatenate([np.full(512, 0.5), np.full(512, 0.1)])[np.newaxis, np.newaxis].astype(np.float32)
    in_loud, in_soft = signal.copy(), signal.copy()
    in_loud[..., 100] += 0.1
    in_soft[..., 600] += 0.1
    loud, soft = (relative_noise([[signal]], [[noisy]]) for noisy in (in_loud, in_soft))
    floor = 0.03 * (512 * 0.25 + 512 * 0.01) / 2
    assert loud == pytest.approx(0.01 / (512 * 0.25 + floor), rel=1e-3)
    assert soft == pytest.approx(0.01 / (512 * 0.01 + floor), rel=1e-3)


def test_weights_and_biases_are_rounded_to_the_nearest_step():
    net = Network()
    model = net.model(net.conv("only", "mel", BANDS, 4, pads=[1, 1]))
    scales = Scales({"mel": TensorScale(0.02, 128)}, {"only.out": TensorScale(0.05, 100)})
    written = weights_of(run_passes(model, [QdqFromFp32Pass(["only"], scales, "cpu")]))
    weight, bias = net.weights["only.weight"], net.weights["only.bias"]
    steps = np.abs(weight).max(axis=(1, 2)) / 127
    np.testing.assert_allclose(written["only.weight.scale"], steps, rtol=1e-6)
    np.testing.assert_array_equal(written["only.weight.quantized"], np.rint(weight / steps[:, None, None]))
    restored = written["only.bias.quantized"] * written["only.bias.scale"].astype(np.float64)
    assert np.abs(restored - bias).max() <= (0.02 * steps).max() / 2 * 1.001


def test_a_channel_without_weights_keeps_its_bias():
    net = Network()
    model = net.model(net.conv("only", "mel", BANDS, 4, pads=[1, 1]))
    net.weights["only.weight"][2] = 0.0
    model = net.model("only.out")
    scales = Scales({"mel": TensorScale(0.02, 128)}, {"only.out": TensorScale(0.05, 100)})
    written = weights_of(run_passes(model, [QdqFromFp32Pass(["only"], scales, "cpu")]))
    restored = written["only.bias.quantized"][2] * float(written["only.bias.scale"][2])
    assert restored == pytest.approx(net.weights["only.bias"][2], rel=1e-6)


def test_a_pattern_that_matches_nothing_is_refused(network):
    with pytest.raises(InputError, match="no node matches 'conv_pst'"):
        int8_from_fp32(network, make_feeds(1), "cpu", ("conv_pst",))


def test_a_graph_with_nothing_to_quantize_is_refused(network):
    with pytest.raises(InputError, match="may leave float, found none"):
        int8_from_fp32(network, make_feeds(1), "cpu", ("conv*",))


def test_no_runs_are_refused(network):
    with pytest.raises(InputError, match="at least one run"):
        int8_from_fp32(network, [], "cpu", FLOAT_PARTS)


def test_a_run_that_does_not_fit_the_graph_is_refused(network):
    with pytest.raises(InputError, match="run 0 does not fit the graph"):
        int8_from_fp32(network, [{"mel": np.zeros((1, 3, 10), np.float32)}], "cpu", FLOAT_PARTS)


@pytest.mark.parametrize(
    "values",
    [
        {"equalization_exponent": 1.5},
        {"max_float_share": -0.1},
        {"probe_runs": 0},
        {"ranges": "median"},
        {"min_channels": 0},
    ],
)
def test_a_configuration_out_of_range_is_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        Int8Config(**values)


@pytest.mark.slow
def test_tensorrt_builds_an_engine_from_the_tensorrt_graph(network, tmp_path: Path):
    trt = pytest.importorskip("tensorrt_rtx")
    result = int8_from_fp32(network, make_feeds(3), "tensorrt", FLOAT_PARTS)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(result.model.SerializeToString()), parser.get_error(0)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("mel", (1, BANDS, 16), (1, BANDS, 60), (1, BANDS, 120))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(definition, config) is not None


def test_float_weights_are_stored_in_half_precision_and_compute_as_before(network):
    half = run_passes(network, [HalfStoredWeightsPass()])
    onnx.checker.check_model(half, full_check=True)
    assert quality_db(network, half) > 60
    stored = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert stored["ups.0.weight.half"] == TensorProto.FLOAT16
    assert "ups.0.weight" not in stored
    assert stored["conv_post.weight"] == TensorProto.FLOAT, "too small to pay for a Cast"


def test_a_weight_beyond_half_precision_stays_as_it_is(network):
    loud = onnx.ModelProto()
    loud.CopyFrom(network)
    weight = next(tensor for tensor in loud.graph.initializer if tensor.name == "ups.0.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), weight.name))
    stored = run_passes(loud, [HalfStoredWeightsPass()])
    assert "ups.0.weight" in {tensor.name for tensor in stored.graph.initializer}


def test_outputs_into_sums_are_rounded_channel_by_channel(network):
    """Loud and soft channels side by side: one scale for all would drown the soft ones."""
    names = [f"convs2.{number}" for number in range(3)]
    loudness = np.geomspace(0.05, 5, CHANNELS).astype(np.float32)
    uneven = onnx.ModelProto()
    uneven.CopyFrom(network)
    for tensor in uneven.graph.initializer:
        if tensor.name.rpartition(".")[0] in names and tensor.name.endswith("weight"):
            scaled = numpy_helper.to_array(tensor) * loudness[:, np.newaxis, np.newaxis]
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    quantized = int8_from_fp32(
        uneven, make_feeds(4), "cpu", FLOAT_PARTS, Int8Config(max_float_share=0.0)
    ).model
    per_channel = [
        node
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] in {f"{name}.out" for name in names}
    ]
    constants = weights_of(quantized)
    assert [constants[node.input[1]].shape for node in per_channel] == [(CHANNELS,)] * 3
    assert quality_db(uneven, quantized) >= 25
