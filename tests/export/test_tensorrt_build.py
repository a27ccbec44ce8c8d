"""Engines built for real with TensorRT for RTX, which needs no GPU to build."""

import hashlib
import logging
import platform
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.tensorrt import protocol
from voirs_vocoder.export.tensorrt.builder import engine_filename, engine_from_onnx
from voirs_vocoder.export.tensorrt.config import RTX_COMPUTE_CAPABILITIES, EngineConfig, ProfileConfig
from voirs_vocoder.export.tensorrt.shapes import profile_from_inputs
from voirs_vocoder.runtime.artifact.manifest import EngineEntry, TensorInfo
from voirs_vocoder.runtime.errors import InputError, ProviderError
from voirs_vocoder.runtime.providers.tensorrt.flavor import load_flavor

HOP = 4
SMALL = ProfileConfig(frames=(1, 8, 16))


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")


def tiny_vocoder(
    path: Path, *, precision="fp32", zero_point=0, zero_type=np.int8, axis="frames", operator="Tanh"
):
    """mel [batch, 4, frames] to audio [batch, 1, 4*frames]: Conv, LeakyRelu, ConvTranspose, Tanh."""
    rng = np.random.default_rng(0)
    real = np.float16 if precision == "fp16" else np.float32
    weight = (rng.normal(size=(8, 4, 3)) * 0.1).astype(real)
    tensors = {"bias": np.zeros(8, real), "up_weight": (rng.normal(size=(8, 1, 8)) * 0.1).astype(real)}
    nodes, signal = [], "mel"
    if precision == "fp16":
        nodes.append(helper.make_node("Cast", ["mel"], ["half"], to=TensorProto.FLOAT16))
        signal = "half"
    if precision == "int8":
        scale = (np.abs(weight).max(axis=(1, 2)) / 127).astype(np.float32)
        tensors |= {
            "scale": np.float32(0.05),
            "zero": zero_type(zero_point),
            "weight_q": np.round(weight / scale[:, None, None]).astype(np.int8),
            "weight_scale": scale,
            "weight_zero": np.zeros(8, np.int8),
        }
        nodes += [
            helper.make_node("QuantizeLinear", [signal, "scale", "zero"], ["q"], name="mel_quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="mel_dequantize"),
            helper.make_node(
                "DequantizeLinear", ["weight_q", "weight_scale", "weight_zero"], ["weight"], axis=0
            ),
        ]
        signal = "dq"
    else:
        tensors["weight"] = weight
    last = "tanh_half" if precision == "fp16" else "audio"
    nodes += [
        helper.make_node("Conv", [signal, "weight", "bias"], ["c"], pads=[1, 1], name="conv_pre"),
        helper.make_node("LeakyRelu", ["c"], ["l"], alpha=0.1),
        helper.make_node("ConvTranspose", ["l", "up_weight"], ["u"], strides=[HOP], pads=[2, 2], name="up"),
        helper.make_node(operator, ["u"], [last], name="last"),
    ]
    if precision == "fp16":
        nodes.append(helper.make_node("Cast", [last], ["audio"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, axis])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, f"{HOP}*{axis}"])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def build(path, *, precision="fp32", **settings) -> tuple[bytes, EngineEntry]:
    settings = {"compute_capabilities": (86,), "profiles": (SMALL,)} | settings
    config = EngineConfig("tensorrt-rtx", **settings)
    return engine_from_onnx(path, config, role="offline", precision=precision, hop_length=HOP)


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_builds_without_a_gpu_and_the_entry_says_everything(tmp_path, precision):
    path = tiny_vocoder(tmp_path / "g.onnx", precision=precision)
    engine, entry = build(path, precision=precision, compute_capabilities=(86, 120))
    assert engine[:4] == b"vtrt"
    assert entry.file.path == f"engines/offline.{precision}.tensorrt-rtx.sm86-sm120.engine"
    assert entry.file.sha256 == hashlib.sha256(engine).hexdigest()
    assert entry.file.size_bytes == len(engine)
    assert entry.graph_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (entry.operating_system, entry.machine) == (platform.system().lower(), platform.machine())
    assert (entry.gpu_name, entry.driver_version, entry.compute_capabilities) == (None, None, (86, 120))
    assert entry.backend_version == load_flavor("tensorrt-rtx").version
    assert entry.inputs == (TensorInfo(name="mel", dtype="float32", shape=("batch", 4, "frames")),)
    assert entry.outputs == (TensorInfo(name="audio", dtype="float32", shape=("batch", 1, "4*frames")),)
    assert entry.profiles[0].maximum == {"mel": (1, 4, 16)}


@pytest.mark.usefixtures("rtx")
def test_tf32_is_off_unless_asked_for_and_the_entry_tells(tmp_path):
    path = tiny_vocoder(tmp_path / "g.onnx")
    assert build(path)[1].flags == ()
    assert build(path, tf32=True)[1].flags == ("TF32",)


@pytest.mark.usefixtures("rtx")
def test_two_builds_of_a_small_graph_are_the_same_bytes(tmp_path):
    path = tiny_vocoder(tmp_path / "g.onnx")
    assert build(path)[0] == build(path)[0]


@pytest.mark.usefixtures("rtx")
def test_every_profile_reaches_the_engine(tmp_path):
    path = tiny_vocoder(tmp_path / "g.onnx")
    longer = ProfileConfig(batch=(1, 2, 4), frames=(16, 32, 64))
    engine, entry = build(path, profiles=(SMALL, longer), workspace_bytes=1 << 28)
    assert len(engine) > len(build(path)[0])
    assert [profile.maximum["mel"] for profile in entry.profiles] == [(1, 4, 16), (4, 4, 64)]


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("stated", [True, False], ids=["stated", "by-omission"])
def test_a_uint8_zero_point_is_an_error_although_the_parser_takes_it(tmp_path, stated):
    path = tiny_vocoder(tmp_path / "g.onnx", precision="int8", zero_type=np.uint8)
    if not stated:
        model = onnx.load(path)
        for node in model.graph.node[:2]:
            del node.input[2]
        onnx.save(model, path)
    with pytest.raises(ExportError, match="would read UINT8 as INT8 in "):
        build(path, precision="int8")


@pytest.mark.usefixtures("rtx")
def test_what_the_library_says_reaches_python_logging(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="voirs_vocoder.tensorrt"):
        build(tiny_vocoder(tmp_path / "g.onnx"))
    assert any("Engine generation completed" in record.message for record in caplog.records)


@pytest.mark.usefixtures("rtx")
def test_a_parser_error_names_node_operator_and_reason(tmp_path):
    path = tiny_vocoder(tmp_path / "g.onnx", precision="int8", zero_point=3)
    with pytest.raises(ExportError, match=r"'mel_quantize' \(QuantizeLinear\): .*[Nn]on-zero zero point"):
        build(path, precision="int8")


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(("precision", "claimed"), [("fp32", "fp16"), ("fp16", "fp32"), ("int8", "fp16")])
def test_a_precision_that_the_graph_does_not_have_is_refused(tmp_path, precision, claimed):
    path = tiny_vocoder(tmp_path / "g.onnx", precision=precision)
    with pytest.raises(ExportError, match=f"is an {precision} graph, not {claimed}"):
        build(path, precision=claimed)


@pytest.mark.usefixtures("rtx")
def test_an_axis_of_unknown_name_is_refused(tmp_path):
    path = tiny_vocoder(tmp_path / "g.onnx", axis="length")
    with pytest.raises(ExportError, match=r"mel: .*got 'length'"):
        build(path)


def test_the_known_compute_capabilities_are_the_librarys(rtx):
    names = {f"SM{value}" for value in RTX_COMPUTE_CAPABILITIES}
    assert names == {name for name in rtx.ComputeCapability.__members__ if name.startswith("SM")}


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("value", RTX_COMPUTE_CAPABILITIES)
def test_each_known_compute_capability_builds(tmp_path, value):
    assert build(tiny_vocoder(tmp_path / "g.onnx"), compute_capabilities=(value,))[0]


def test_the_library_has_every_member_that_the_builder_uses(rtx):
    real = {
        protocol.BuilderModule: rtx,
        protocol.TrtBuilder: rtx.Builder,
        protocol.TrtBuilderConfig: rtx.IBuilderConfig,
    }
    assert {p.__name__ for p in real} == set(protocol.__all__)
    for typed, cls in real.items():
        used = {*typed.__annotations__, *(name for name in vars(typed) if not name.startswith("_"))}
        assert [name for name in used if not hasattr(cls, name)] == []
    untyped = {
        rtx.INetworkDefinition: ("name", "num_inputs", "get_input"),
        rtx.ITensor: ("name", "is_shape_tensor"),
        rtx.OnnxParser: ("num_errors", "get_error", "parse"),
        rtx.ParserError: ("desc", "node_name", "node_operator"),
        rtx.IOptimizationProfile: ("set_shape",),
    }
    for cls, names in untyped.items():
        assert [name for name in names if not hasattr(cls, name)] == []


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_library_is_named_with_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name.replace("-", "_"), None)
    with pytest.raises(ProviderError, match=rf"pip install 'voirs-vocoder\[{name}\]'"):
        load_flavor.__wrapped__(name)


def test_an_unknown_backend_lists_the_known_ones():
    with pytest.raises(ProviderError, match="known: tensorrt, tensorrt-rtx"):
        load_flavor("trt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "trt"}, "unknown engine backend 'trt'; known: tensorrt, tensorrt-rtx"),
        ({"compute_capabilities": (90,)}, "capability 90; known: 75, 80, 86, 89, 120, 121"),
        ({"compute_capabilities": ()}, "known: 75, 80"),
        ({"compute_capabilities": (86, 86)}, "ascend without repetition"),
        ({"compute_capabilities": (120, 86)}, "ascend without repetition"),
        ({"backend": "tensorrt"}, "leave them out"),
        ({"profiles": ()}, "at least one profile"),
        ({"workspace_bytes": 1}, "at least 1 MiB, got 1"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_rule(settings, message):
    with pytest.raises(InputError, match=message):
        EngineConfig(**{"backend": "tensorrt-rtx", "compute_capabilities": (86,)} | settings)


@pytest.mark.parametrize("ends", [(0, 1, 1), (2, 1, 3), (1, 3, 2)])
def test_a_profile_out_of_order_is_refused(ends):
    with pytest.raises(InputError, match="smallest <= best <= largest frames"):
        ProfileConfig(frames=ends)


def test_axes_follow_batch_and_frames():
    inputs = (
        TensorInfo(name="noise", dtype="float32", shape=("batch", 8, "32*frames")),
        TensorInfo(name="conditioner", dtype="float32", shape=("batch", 64, "samples")),
        TensorInfo(name="step", dtype="float32", shape=("batch",)),
    )
    profile = profile_from_inputs(inputs, ProfileConfig(batch=(1, 2, 3), frames=(1, 5, 9)), 256)
    assert profile.minimum == {"noise": (1, 8, 32), "conditioner": (1, 64, 256), "step": (1,)}
    assert profile.optimum == {"noise": (2, 8, 160), "conditioner": (2, 64, 1280), "step": (2,)}
    assert profile.maximum == {"noise": (3, 8, 288), "conditioner": (3, 64, 2304), "step": (3,)}


def test_a_file_name_says_what_the_engine_is():
    assert engine_filename("stream", "fp16", "tensorrt", (90,)) == "stream.fp16.tensorrt.sm90.engine"
