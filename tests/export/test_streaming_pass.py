"""From an offline graph to a stream: exact for any chunking, at the least delay, and refused where it cannot be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.edits.length_invariant_sums import (
    LengthInvariantSumsPass,
    length_invariant_sums,
)
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.export.graphs.built import BuiltGraph, built_graph, open_graph
from voirs_vocoder.export.graphs.onnx_from_torch import onnx_from_torch
from voirs_vocoder.export.graphs.reduced import int8_graphs
from voirs_vocoder.export.streaming import stream_graph, stream_graphs
from voirs_vocoder.export.streaming.derived import StreamRefusedError
from voirs_vocoder.reference_models import published
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.family import HIFIGAN
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import GraphFacts, TensorInfo

pytestmark = [pytest.mark.numeric, pytest.mark.slow]

# The published configurations with fewer channels: these change neither delays nor masks.
CONFIGS: dict[str, dict[str, object]] = {
    "v1": {**published.HIFIGAN_V1, "num_mels": 6, "upsample_initial_channel": 32},
    "v2": {**published.HIFIGAN_V2, "num_mels": 6, "upsample_initial_channel": 16},
    "v3": {**published.HIFIGAN_V3, "num_mels": 6, "upsample_initial_channel": 16},
    "custom": {
        **published.HIFIGAN_V1,
        "hop_size": 12,
        "resblock_kernel_sizes": [3, 9],
        "resblock_dilation_sizes": [[1, 4, 2], [2, 1, 1]],
        "upsample_rates": [3, 4],
        "upsample_kernel_sizes": [7, 10],
        "num_mels": 5,
        "upsample_initial_channel": 8,
    },
}
MAX_FRAMES = 40


@dataclass(frozen=True)
class Streamed:
    offline: BuiltGraph
    stream: BuiltGraph
    hop_length: int
    look_ahead_samples: int


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def streamed(request: pytest.FixtureRequest) -> Streamed:
    config = HifiGanConfig.from_mapping(CONFIGS[request.param])
    torch.manual_seed(1)
    model = hifigan(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases must be felt: they are what a stream without masks would carry over the ends.
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    offline = offline_graph(model)
    return Streamed(
        offline,
        stream_graph(offline, config.hop_size),
        config.hop_size,
        model.description.look_ahead_samples,
    )


def hifigan(config: HifiGanConfig) -> HifiGan:
    model = HifiGan(config)
    fold_weight_norm(model)
    return model.eval().requires_grad_(False)


def offline_graph(model: HifiGan) -> BuiltGraph:
    (spec,) = HIFIGAN.graphs(model)
    return built_graph(
        onnx_from_torch(spec, {}),
        role=spec.role,
        precision="fp32",
        target=None,
        inputs=tuple(TensorInfo(name=t.name, dtype=t.dtype, shape=t.shape) for t in spec.inputs),
        outputs=tuple(TensorInfo(name=t.name, dtype=t.dtype, shape=t.shape) for t in spec.outputs),
        facts=GraphFacts(),
        details={},
        keep_float={"int8": ("conv_pre", "conv_post")},
    )


def run_stream(
    graph: BuiltGraph, mels: list[NDArray[np.float32]], chunks: list[int], hop_length: int
) -> list[NDArray[np.float32]]:
    """Streams several utterances of different lengths side by side, in one batch."""
    session = open_graph(graph.data, graph.entry)
    delay = graph.entry.facts.delay_samples or 0
    lengths = np.array([mel.shape[1] for mel in mels])
    longest = int(lengths.max()) - (-delay // hop_length)
    state = np.zeros((len(mels), graph.entry.facts.state_size or 0), np.float32)
    pieces, start, turn = [], 0, 0
    while start < longest:
        count = chunks[turn % len(chunks)]
        turn += 1
        # Rubbish behind the end of an utterance must not be heard.
        chunk = np.full((len(mels), mels[0].shape[0], count), 5.0, np.float32)
        for row, mel in enumerate(mels):
            part = mel[:, start : start + count]
            chunk[row, :, : part.shape[1]] = part
        known = start + count >= lengths
        results = session.run(
            {
                "mel": chunk,
                "begin": np.full(len(mels), -start, np.int64),
                "end": np.where(known, lengths - start, 1 << 20),
                "state": state,
            }
        )
        state = results["next_state"]
        pieces.append(results["audio"])
        start += count
    audio = np.concatenate(pieces, axis=-1)
    return [audio[row, 0, delay : delay + length * hop_length] for row, length in enumerate(lengths)]


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(1, MAX_FRAMES), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_any_chunking_of_any_utterances_equals_the_offline_pass(streamed, lengths, chunks, seed):
    rng = np.random.default_rng(seed)
    n_mels = streamed.offline.entry.inputs[0].shape[1]
    mels = [rng.standard_normal((n_mels, length), np.float32) for length in lengths]
    offline = open_graph(streamed.offline.data, streamed.offline.entry)
    for mel, audio in zip(mels, run_stream(streamed.stream, mels, chunks, streamed.hop_length), strict=True):
        wanted = offline.run({"mel": mel[np.newaxis]})["audio"].reshape(-1)
        assert audio.shape == wanted.shape
        np.testing.assert_allclose(audio, wanted, rtol=0, atol=1e-5)


def test_the_delay_is_the_look_ahead_computed_from_the_configuration(streamed):
    assert streamed.stream.entry.facts.delay_samples == streamed.look_ahead_samples


def test_the_state_is_no_larger_than_one_delay_line_per_convolution_and_skip(streamed):
    model = onnx.load_from_string(streamed.offline.data)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    plain = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            shape = weights[node.input[1]]
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            span = (shape[2] - 1) * attributes["dilations"][0]
            channels = shape[1] if node.op_type == "Conv" else shape[0]
            # A skip waits half a kernel for every convolution.
            plain += channels * (span + span // 2) if node.op_type == "Conv" else channels * 2
    assert 0 < streamed.stream.entry.facts.state_size <= plain


def test_the_same_graph_gives_the_same_bytes(streamed):
    assert stream_graph(streamed.offline, streamed.hop_length).data == streamed.stream.data


@pytest.fixture(scope="module")
def quantized() -> dict[str | None, BuiltGraph]:
    torch.manual_seed(2)
    model = hifigan(HifiGanConfig.from_mapping({**CONFIGS["v3"], "num_mels": 80}))
    rng = np.random.default_rng(0)
    feeds = [{"mel": rng.standard_normal((1, 80, 60), np.float32)} for _ in range(2)]
    graphs = int8_graphs(offline_graph(model), feeds, lambda *_: None, ("cpu", "tensorrt"))
    return {graph.entry.target: graph for graph in graphs}


@pytest.mark.parametrize("chunks", [[3], [16], [7, 2]], ids=str)
def test_an_int8_stream_on_the_cpu_equals_its_offline_pass_bit_for_bit(quantized, chunks):
    offline = quantized["cpu"]
    stream = stream_graph(offline, 256)
    mel = np.random.default_rng(3).standard_normal((80, 50), np.float32)
    (audio,) = run_stream(stream, [mel], chunks, 256)
    wanted = open_graph(offline.data, offline.entry).run({"mel": mel[np.newaxis]})["audio"].reshape(-1)
    np.testing.assert_array_equal(audio, wanted)


def test_the_state_for_tensorrt_is_taken_before_every_quantizer(quantized):
    model = onnx.load_from_string(stream_graph(quantized["tensorrt"], 256).data)
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in makers:
            assert makers[node.input[0]].op_type == "QuantizeLinear"


def test_steady_sums_compute_what_the_graph_computed():
    weight = np.random.default_rng(0).standard_normal((4, 40, 7)).astype(np.float32)
    bias = np.arange(4, dtype=np.float32)
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[3, 3])
    tail = helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["q"], "quantize")
    graph = helper.make_graph(
        [conv, tail],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 40, "t"])],
        [helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4, "t"])],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(bias, "b"),
            onnx.numpy_helper.from_array(np.float32(0.5), "scale"),
            onnx.numpy_helper.from_array(np.uint8(128), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    steady = run_passes(model, [LengthInvariantSumsPass(None)])
    named = length_invariant_sums(model, ("con*",))
    assert named.SerializeToString() == steady.SerializeToString()
    assert length_invariant_sums(model, ()).SerializeToString() == model.SerializeToString()
    onnx.checker.check_model(steady, full_check=True)
    parts = [node for node in steady.graph.node if node.op_type == "Conv"]
    # 18 channels of 7 taps are 126 terms.
    assert len(parts) == 3
    x = np.random.default_rng(1).standard_normal((1, 40, 30)).astype(np.float32)
    from onnx.reference import ReferenceEvaluator

    wanted = ReferenceEvaluator(model).run(None, {"x": x})[0].astype(int)
    got = ReferenceEvaluator(steady).run(None, {"x": x})[0].astype(int)
    assert np.abs(wanted - got).max() <= 1


@pytest.mark.parametrize("fixture", ["tiny_waveglow", "tiny_diffwave"])
def test_flows_and_diffusion_networks_stream_exactly(fixture, request):
    artifact = Artifact.open(request.getfixturevalue(fixture))
    roles = {graph.role: graph for graph in artifact.manifest.graphs}
    for role in ("stream", "stream-conditioner"):
        if role in roles:
            assert roles[role].details["max_error_against_offline"] <= 1e-6


def _small_graph(nodes: list[onnx.NodeProto], *tensors: TensorProto) -> BuiltGraph:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 4, "frames"])],
        list(tensors),
    )
    shape = ("batch", 4, "frames")
    return built_graph(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        role="offline",
        precision="fp32",
        target=None,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=shape),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=shape),),
        facts=GraphFacts(),
        details={},
        keep_float={},
    )


def test_a_graph_without_memory_streams_without_a_state():
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32)[:, :, np.newaxis], "w")
    nodes = [
        helper.make_node("Conv", ["mel", "w"], ["x"], "mix"),
        helper.make_node("Tanh", ["x"], ["audio"], "squash"),
    ]
    facts = stream_graph(_small_graph(nodes, weight), 1).entry.facts
    assert (facts.delay_samples, facts.state_size) == (0, 0)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Hardmax", ["mel"], ["audio"], "peak", axis=1), "not known"),
        (helper.make_node("Softmax", ["mel"], ["audio"], "share", axis=2), "along time"),
    ],
    ids=["unknown operator", "mixes all positions"],
)
def test_what_cannot_be_streamed_is_refused_by_the_name_of_its_node(node, reason):
    graph = _small_graph([node])
    with pytest.raises(StreamRefusedError, match=rf"{node.name}.*{reason}"):
        stream_graph(graph, 1)
    said: list[str] = []
    assert stream_graphs([graph], 1, lambda message, *_: said.append(message)) == []
    assert any("has no stream graph" in message and node.name in message for message in said)


def test_a_wrong_stream_is_refused(monkeypatch):
    from voirs_vocoder.export.errors import ExportError
    from voirs_vocoder.export.streaming import rewriting

    weight = onnx.numpy_helper.from_array(np.ones((4, 4, 3), np.float32), "w")
    bias = onnx.numpy_helper.from_array(np.ones(4, np.float32), "b")
    graph = _small_graph(
        [
            helper.make_node("Conv", ["mel", "w", "b"], ["x"], "first", pads=[1, 1]),
            helper.make_node("Conv", ["x", "w", "b"], ["audio"], "second", pads=[1, 1]),
        ],
        weight,
        bias,
    )
    assert stream_graph(graph, 1).entry.facts.delay_samples == 2
    monkeypatch.setattr(rewriting, "zeroed_values", lambda *_: set())
    with pytest.raises(ExportError, match="must equal its offline pass"):
        stream_graph(graph, 1)


def padded_by_ends(
    node: onnx.NodeProto, weight: NDArray[np.float32], pads: list[int], mode: str = "edge"
) -> BuiltGraph:
    """A graph whose input is padded by its ends, or mirrored, and then read by one node with a weight."""
    graph = helper.make_graph(
        [helper.make_node("Pad", ["mel", "pads"], ["padded"], "Pad.0", mode=mode), node],
        "padded",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 2, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, None])],
        [
            numpy_helper.from_array(np.array([0, 0, pads[0], 0, 0, pads[1]], np.int64), "pads"),
            numpy_helper.from_array(weight, "weight"),
        ],
    )
    rate = 2 if node.op_type == "ConvTranspose" else 1
    return built_graph(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        role="offline",
        precision="fp32",
        target=None,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", 2, "frames")),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=("batch", 1, f"frames*{rate}")),),
        facts=GraphFacts(),
        details={},
        keep_float={},
    )


@pytest.mark.parametrize(("before", "after"), [(2, 2), (4, 0), (0, 4), (3, 1)])
@pytest.mark.parametrize("chunks", [[1], [3], [8, 2]])
def test_ends_are_repeated_as_far_as_a_convolution_reads(before, after, chunks):
    weight = np.random.default_rng(0).standard_normal((1, 2, 5), np.float32)
    offline = padded_by_ends(
        helper.make_node("Conv", ["padded", "weight"], ["audio"], "Conv.0"), weight, [before, after]
    )
    stream = stream_graph(offline, 1)
    assert stream.entry.facts.delay_samples == after
    mels = [np.random.default_rng(frames).standard_normal((2, frames), np.float32) for frames in (1, 2, 11)]
    session = open_graph(offline.data, offline.entry)
    for mel, audio in zip(mels, run_stream(stream, mels, chunks, 1), strict=True):
        wanted = session.run({"mel": mel[None]})["audio"][0, 0]
        np.testing.assert_allclose(audio.reshape(-1)[: mel.shape[1]], wanted, rtol=0, atol=1e-6)


def test_zeros_beyond_repeated_ends_are_refused():
    weight = np.ones((1, 2, 7), np.float32)
    node = helper.make_node("Conv", ["padded", "weight"], ["audio"], "Conv.0", pads=[1, 1])
    with pytest.raises(StreamRefusedError, match="adds zeros to an input that is padded by its ends"):
        stream_graph(padded_by_ends(node, weight, [2, 2]), 1)


def test_a_transposed_convolution_that_reads_beyond_repeated_ends_is_refused():
    weight = np.ones((2, 1, 4), np.float32)
    node = helper.make_node("ConvTranspose", ["padded", "weight"], ["audio"], "Up", strides=[2], pads=[1, 3])
    with pytest.raises(StreamRefusedError, match="reads beyond the padding"):
        stream_graph(padded_by_ends(node, weight, [0, 1]), 2)


@pytest.mark.parametrize("pads", [(2, 0), (0, 2)])
def test_a_mirrored_tensor_that_is_read_further_to_one_side_is_refused(pads):
    node = helper.make_node("Conv", ["padded", "weight"], ["audio"], "Conv.0")
    graph = padded_by_ends(node, np.ones((1, 2, 3), np.float32), list(pads), "reflect")
    message = f"reach equally far to both sides, got {pads[0]} and {pads[1]} positions"
    with pytest.raises(StreamRefusedError, match=message):
        stream_graph(graph, 1)
