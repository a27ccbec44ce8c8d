"""Streams and batches of networks that repeat or mirror their ends, or make more samples than their frames have.

They are exact in every precision, for any chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.test_streaming_pass import CONFIGS, hifigan, offline_graph, run_stream
from voirs_vocoder.calibration.int8 import Int8Config
from voirs_vocoder.export.graphs.built import BuiltGraph, open_graph
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes
from voirs_vocoder.export.precisions import MakeOptions, get_precision
from voirs_vocoder.export.streaming import batch_graph, stream_graph
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.progress import silent

pytestmark = [pytest.mark.numeric, pytest.mark.slow]

# So many bands that the sums of the first convolution are split.
N_MELS = 24
# So many channels that INT8 quantizes every convolution of both stages.
CONFIG = {
    **CONFIGS["custom"],
    "num_mels": N_MELS,
    "upsample_initial_channel": 64,
    "resblock": "2",
    "resblock_dilation_sizes": [[1, 4], [2, 1]],
}
HOP_LENGTH = 12
ENDS = {
    "edge": {"padding": "edge"},
    "reflect": {"padding": "reflect"},
    # Kernels that exceed their rates by odd numbers, as AudioLDM's: five samples are cut off at the end.
    "excess": {"upsample_kernel_sizes": [8, 7], "upsample_crops": [[2, 2], [1, 1]]},
}
OPTIONS = MakeOptions(int8=Int8Config(max_float_share=0.0))


@dataclass(frozen=True)
class Padded:
    look_ahead_samples: int
    graphs: dict[str, BuiltGraph]
    streams: dict[str, BuiltGraph]
    batches: dict[str, BuiltGraph]


@pytest.fixture(scope="module", params=ENDS)
def padded(request: pytest.FixtureRequest) -> Padded:
    """A tiny HiFi-GAN with these ends, in every precision."""
    torch.manual_seed(1)
    model = hifigan(HifiGanConfig.from_mapping({**CONFIG, **ENDS[request.param]}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    fp32 = offline_graph(model)
    rng = np.random.default_rng(0)
    feeds = [{"mel": rng.standard_normal((1, N_MELS, 64), np.float32)} for _ in range(2)]
    made = [
        graph for name in ("fp16", "int8") for graph in get_precision(name).make(fp32, feeds, OPTIONS, silent)
    ]
    graphs = {graph.entry.name.removeprefix("offline."): graph for graph in (fp32, *made)}
    return Padded(
        model.description.look_ahead_samples,
        graphs,
        {name: stream_graph(graph, HOP_LENGTH) for name, graph in graphs.items()},
        {name: batch_graph(graph, HOP_LENGTH) for name, graph in graphs.items()},
    )


def mels_of(lengths, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((N_MELS, length), np.float32) for length in lengths]


def offline(graph, mel):
    return open_graph(graph.data, graph.entry).run({"mel": mel[np.newaxis]})["audio"].reshape(-1)


def test_every_precision_waits_for_the_look_ahead_alone(padded):
    assert set(padded.streams) == {"fp32", "fp16", "int8.cpu", "int8.tensorrt"}
    delays = {stream.entry.facts.delay_samples for stream in padded.streams.values()}
    assert delays == {padded.look_ahead_samples}


@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_any_chunking_of_any_utterances_equals_the_offline_pass(padded, lengths, chunks, seed):
    """Utterances that are shorter than a convolution reaches are mirrored again and again."""
    mels = mels_of(lengths, seed)
    streamed = run_stream(padded.streams["fp32"], mels, chunks, HOP_LENGTH)
    for mel, audio in zip(mels, streamed, strict=True):
        np.testing.assert_allclose(audio, offline(padded.graphs["fp32"], mel), rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunks", [[2], [3], [8], [16], [5, 2, 11]], ids=str)
def test_an_int8_stream_on_the_cpu_equals_its_offline_pass_bit_for_bit(padded, chunks):
    mels = mels_of([31, 2, 9], seed=3)
    for mel, audio in zip(
        mels, run_stream(padded.streams["int8.cpu"], mels, chunks, HOP_LENGTH), strict=True
    ):
        np.testing.assert_array_equal(audio, offline(padded.graphs["int8.cpu"], mel))


@pytest.mark.parametrize("precision", ["fp16", "int8.tensorrt"])
@pytest.mark.parametrize("chunks", [[1], [3], [5, 2, 11]], ids=str)
def test_a_stream_of_another_precision_follows_its_offline_pass(padded, precision, chunks):
    """One rounding at the border of two steps changes more than the ends would, so the ends are measured alone."""
    (mel,) = mels_of([31], seed=3)
    (audio,) = run_stream(padded.streams[precision], [mel], chunks, HOP_LENGTH)
    wanted, ends = offline(padded.graphs[precision], mel), 4 * HOP_LENGTH
    for part in (slice(None), slice(ends), slice(-ends, None)):
        assert snr_db(wanted[part], audio[part]) > 50.0


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8.cpu", "int8.tensorrt"])
def test_each_utterance_of_a_batch_equals_itself_alone(padded, precision):
    lengths = [21, 2, 6]
    mels = mels_of(lengths, seed=4)
    joined = np.full((3, N_MELS, max(lengths)), 7.0, np.float32)
    for row, mel in zip(joined, mels, strict=True):
        row[:, : mel.shape[1]] = mel
    graph = padded.batches[precision]
    feed = {"mel": joined, "lengths": np.array(lengths, np.int64)}
    together = open_graph(graph.data, graph.entry).run(feed)["audio"]
    for row, mel in zip(together, mels, strict=True):
        alone = offline(padded.graphs[precision], mel)
        assert snr_db(alone, row[0, : alone.size]) > 60.0


@pytest.mark.parametrize("padded", ["edge", "reflect"], indirect=True)
def test_quantizers_stand_before_their_convolutions_in_every_derived_graph(padded):
    """Elsewhere, neither ONNX Runtime nor TensorRT would compute the convolutions in integers."""
    for name in ("int8.cpu", "int8.tensorrt"):
        for graph in (padded.streams[name], padded.batches[name]):
            model = onnx.load_from_string(graph.data)
            makers = {output: node for node in model.graph.node for output in node.output}
            quantized = [
                makers[node.input[0]]
                for node in model.graph.node
                if node.op_type == "Conv" and node.name.startswith("resblocks.")
            ]
            assert {node.op_type for node in quantized} == {"DequantizeLinear"}
            assert {makers[node.input[0]].op_type for node in quantized} == {"QuantizeLinear"}


def test_a_gpu_takes_every_graph_whole(padded):
    for graphs in (padded.streams, padded.batches):
        for name, graph in graphs.items():
            if name != "int8.cpu":
                model = onnx.load_from_string(graph.data)
                sizes = fixed_sizes(model, batch=3, frames=16, hop_length=HOP_LENGTH)
                assert cpu_nodes(model, sizes) == (), graph.entry.name
