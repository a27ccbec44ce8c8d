"""Every edit of calibration checks its graph before and after: a wrong graph is refused, a broken promise found."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.calibration.activation_ranges import TensorScale
from voirs_vocoder.calibration.edits.half_weights import HalfStoredWeightsPass
from voirs_vocoder.calibration.edits.integer_gates import IntegerGatesPass
from voirs_vocoder.calibration.edits.length_invariant_sums import LengthInvariantSumsPass
from voirs_vocoder.calibration.edits.qdq import QdqFromFp32Pass, Scales
from voirs_vocoder.calibration.edits.run import run_passes
from voirs_vocoder.calibration.equalization import ChannelGroup, EqualizeChannelsPass
from voirs_vocoder.calibration.errors import GraphEditError

SCALES = Scales({"x": TensorScale(0.1, 128)}, {"y": TensorScale(0.1, 128)})
GROUP = ChannelGroup(("y",), "conv", ())
EDITS = {
    "half weights": HalfStoredWeightsPass(),
    "integer gates": IntegerGatesPass(),
    "length-invariant sums": LengthInvariantSumsPass(("conv",)),
    "qdq": QdqFromFp32Pass(("conv",), SCALES, "cpu"),
    "equalization": EqualizeChannelsPass({GROUP: np.full(64, 2.0, np.float32)}),
}


def model_of(nodes, constants, opset=20, channels=64):
    shape = ["batch", channels, "steps"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def convolution(opset=20, weight=0.1):
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1])
    return model_of([node], {"w": np.full((64, 64, 3), weight, np.float32)}, opset)


def activation_behind_scales_per_channel():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scales", "zeros"], ["d"], "dequantize", axis=1),
        helper.make_node("Tanh", ["d"], ["y"], "tanh"),
    ]
    constants = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(128, np.uint8),
        "scales": np.full(64, 0.02, np.float32),
        "zeros": np.full(64, 128, np.uint8),
    }
    return model_of(nodes, constants)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_graph_whose_nodes_share_a_name_is_refused(edit):
    nodes = [
        helper.make_node("Abs", ["x"], ["z"], "twice"),
        helper.make_node("Abs", ["z"], ["y"], "twice"),
    ]
    with pytest.raises(GraphEditError, match=f"{type(edit).__name__}: nodes must have names of their own"):
        run_passes(model_of(nodes, {}), [edit])


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_graph_with_a_subgraph_is_refused(edit):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"], "same")],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["flag"], ["y"], "if", then_branch=branch, else_branch=branch)
    with pytest.raises(GraphEditError, match="a subgraph in node if"):
        run_passes(model_of([node], {"flag": np.array(True)}), [edit])


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_gives_valid_onnx_and_keeps_its_promise(edit):
    onnx.checker.check_model(run_passes(convolution(), [edit]), full_check=True)


@pytest.mark.parametrize(
    ("edit", "model"),
    [
        (EDITS["half weights"], convolution()),
        (EDITS["integer gates"], activation_behind_scales_per_channel()),
        (EDITS["length-invariant sums"], convolution()),
        (EDITS["qdq"], convolution()),
        (EDITS["equalization"], convolution(weight=np.inf)),
    ],
    ids=EDITS,
)
def test_a_graph_that_an_edit_did_not_change_breaks_its_promise(edit, model):
    with pytest.raises(ir.passes.PostconditionError):
        edit.ensures(ir.from_proto(model))


def test_a_convolution_without_scales_is_refused():
    with pytest.raises(GraphEditError, match="got none for 'conv'"):
        run_passes(convolution(), [QdqFromFp32Pass(("conv",), Scales({}, {}), "cpu")])


def test_a_node_that_is_no_convolution_is_refused():
    with pytest.raises(
        GraphEditError, match="only a Conv with constant weights can be quantized, got 'tanh'"
    ):
        run_passes(convolution(), [QdqFromFp32Pass(("tanh",), SCALES, "cpu")])


def test_an_opset_without_scales_per_channel_is_refused():
    with pytest.raises(GraphEditError, match="need opset 13 or later, got 12"):
        run_passes(convolution(opset=12), [EDITS["qdq"]])


def test_factors_that_would_change_bits_are_refused():
    with pytest.raises(GraphEditError, match="powers of two"):
        run_passes(convolution(), [EqualizeChannelsPass({GROUP: np.full(64, 3.0, np.float32)})])
