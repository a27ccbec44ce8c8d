"""Streams and batches of integers: zero is the zero point, and quantizers stay with what they quantize."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.built import built_graph
from voirs_vocoder.export.graphs.reduced import KEEP_ALL, int8_graphs
from voirs_vocoder.export.streaming import stream_graph
from voirs_vocoder.export.streaming.batch_graph import batch_graph
from voirs_vocoder.export.streaming.derived import StreamRefusedError
from voirs_vocoder.runtime.artifact.manifest import GraphFacts, TensorInfo

RNG = np.random.default_rng(0)
MEL, AUDIO = (
    TensorInfo(name=name, dtype="float32", shape=("batch", 4, "frames")) for name in ("mel", "audio")
)


def constant(values, name):
    return numpy_helper.from_array(np.asarray(values), name)


def weight(name, taps, channels=4):
    return constant(RNG.normal(0, 0.5, (channels, 4, taps)).astype(np.float32), name)


def quantized(value, scale="scale"):
    """Nodes from a float tensor to its integers."""
    return helper.make_node("QuantizeLinear", [value, scale, "zero"], [f"{value}.q"], f"{value}.quantize")


def dequantized(value, scale="scale"):
    return helper.make_node("DequantizeLinear", [value, scale, "zero"], [f"{value}.f"], f"{value}.dequantize")


def graph_of(nodes, *values, precision="int8", target="cpu", keep_float=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, "frames"])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 4, "frames"])],
        [constant(np.float32(0.05), "scale"), constant(np.uint8(100), "zero"), *values],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return built_graph(
        model, role="offline", precision=precision, target=target, inputs=(MEL,), outputs=(AUDIO,),
        facts=GraphFacts(), details={}, keep_float=keep_float or {},
    )  # fmt: skip


def split_behind_a_quantizer(scale="scale"):
    """The two halves of one quantized tensor are read beyond the utterance, as keys and values of attention are."""
    return [
        quantized("mel", scale),
        helper.make_node("Split", ["mel.q"], ["left", "right"], "halves", axis=1, num_outputs=2),
        dequantized("left"),
        dequantized("right"),
        helper.make_node("Concat", ["right.f", "left.f"], ["both"], "both", axis=1),
        helper.make_node("Conv", ["left.f", "w2"], ["x"], "conv.left", pads=[1, 1]),
        helper.make_node("Conv", ["right.f", "w2"], ["y"], "conv.right", pads=[1, 1]),
        helper.make_node("Concat", ["x", "y"], ["wide"], "wide", axis=1),
        helper.make_node("Add", ["wide", "both"], ["audio"], "sum"),
    ]


HALVES = constant(RNG.normal(0, 0.5, (2, 2, 3)).astype(np.float32), "w2")


@pytest.mark.parametrize("make", [stream_graph, batch_graph])
def test_integers_behind_a_split_are_padded_with_their_zero_point(make):
    details = make(graph_of(split_behind_a_quantizer(), HALVES), 1).entry.details
    # None: equal bit for bit.
    assert details["snr_db_against_offline"] is None


@pytest.mark.parametrize("make", [stream_graph, batch_graph])
def test_a_part_of_channels_with_scales_of_their_own_is_refused(make):
    scales = constant(np.full(4, 0.05, np.float32), "scales")
    zeros = constant(np.full(4, 100, np.uint8), "zeros")
    nodes = split_behind_a_quantizer()
    nodes[0] = helper.make_node("QuantizeLinear", ["mel", "scales", "zeros"], ["mel.q"], "by channel", axis=1)
    with pytest.raises(StreamRefusedError, match=r"a part of the channels that node 'by channel' scales"):
        make(graph_of(nodes, HALVES, scales, zeros), 1)


def test_integers_of_unknown_zero_are_refused():
    nodes = [
        helper.make_node("Cast", ["mel"], ["cast"], "cast", to=TensorProto.UINT8),
        helper.make_node("Squeeze", ["cast.u", "axis"], ["cast.s"], "squeeze"),
        dequantized("cast.s"),
        helper.make_node("Conv", ["cast.s.f", "w"], ["audio"], "conv", pads=[1, 1]),
    ]
    nodes.insert(1, helper.make_node("Unsqueeze", ["cast", "axis"], ["cast.u"], "unsqueeze"))
    with pytest.raises(StreamRefusedError, match="none is known to stand for zero"):
        stream_graph(graph_of(nodes, weight("w", 3), constant([1], "axis")), 1)


def test_a_quantizer_follows_its_convolution_immediately():
    """A branch waits as integers, since ONNX Runtime fuses a convolution with the quantizer behind it."""
    # Before the short branch are twice as many channels, so it waits behind its convolution.
    nodes = [
        helper.make_node("Tanh", ["mel"], ["tanh"], "tanh"),
        helper.make_node("Concat", ["tanh", "mel"], ["wide"], "wide", axis=1),
        quantized("wide"),
        dequantized("wide.q"),
        helper.make_node("Conv", ["wide.q.f", "w1"], ["short"], "short", pads=[0, 0]),
        quantized("short"),
        dequantized("short.q"),
        quantized("mel"),
        dequantized("mel.q"),
        helper.make_node("Conv", ["mel.q.f", "w7"], ["long"], "long", pads=[3, 3]),
        quantized("long"),
        dequantized("long.q"),
        helper.make_node("Add", ["short.q.f", "long.q.f"], ["sum"], "sum"),
        helper.make_node("Conv", ["sum", "w7"], ["audio"], "last", pads=[3, 3]),
    ]
    wide = constant(RNG.normal(0, 0.5, (4, 8, 1)).astype(np.float32), "w1")
    stream = stream_graph(graph_of(nodes, wide, weight("w7", 7)), 1)
    makers = {
        name: node.op_type for node in onnx.load_from_string(stream.data).graph.node for name in node.output
    }
    quantizers = [n for n in onnx.load_from_string(stream.data).graph.node if n.op_type == "QuantizeLinear"]
    behind = [makers.get(node.input[0]) for node in quantizers if not node.output[0].endswith(".past")]
    assert behind.count("Conv") == 2
    assert stream.entry.details["snr_db_against_offline"] is None


def test_a_graph_that_stays_float_adds_up_in_one_order_for_the_cpu():
    """The other graphs of the precision quantize what it computes."""
    fp32 = graph_of(
        [helper.make_node("Conv", ["mel", "w"], ["audio"], "conv", pads=[25, 25])],
        weight("w", 51),
        precision="fp32",
        target=None,
        keep_float={"int8": KEEP_ALL},
    )
    parts = {
        graph.entry.target: sum(
            node.op_type == "Conv" for node in onnx.load_from_string(graph.data).graph.node
        )
        for graph in int8_graphs(fp32, [], lambda *_: None, ("cpu", "tensorrt"))
    }
    assert parts == {"cpu": 2, "tensorrt": 1}


@pytest.mark.parametrize("make", [stream_graph, batch_graph])
def test_an_integer_graph_that_does_not_equal_its_offline_pass_is_refused(monkeypatch, make):
    """Zeros that are wrong at the ends alone leave 20 to 40 dB, which was accepted once."""
    graph = graph_of(split_behind_a_quantizer(), HALVES)
    monkeypatch.setattr("voirs_vocoder.export.streaming.rewriting.zeroed_values", lambda *_: set())
    monkeypatch.setattr("voirs_vocoder.export.streaming.batch_pass.zeroed_values", lambda *_: set())
    with pytest.raises(ExportError, match="SNR of at least 60 dB"):
        make(graph, 1)
