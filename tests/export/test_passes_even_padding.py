"""Transposed convolutions with uneven padding become even ones with the same results."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.helpers import graph_feed
from voirs_vocoder.export.passes import EvenPaddingPass, NameNodesPass, run_passes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.runtime import Artifact

QUANTIZED = (
    "s = Constant<value = float {0.01}>() z = Constant<value = int8 {ZERO}>() "
    "q = QuantizeLinear(w, s, z) v = DequantizeLinear(q, s, z)"
)


def graph(pads: tuple[int, int], extra: str = "", weight: str = "w", attributes: str = "") -> onnx.ModelProto:
    body = f"y = ConvTranspose<strides = [4], pads = [{pads[0]}, {pads[1]}]{attributes}>(x, {weight})"
    text = f'<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,T] x) => (float[N,2,U] y) {{ {extra} {body} }}'
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).uniform(-1, 1, (3, 2, 6)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return run_passes(model, [NameNodesPass()])


def pads_of(model: onnx.ModelProto) -> list[int]:
    (node,) = (node for node in model.graph.node if node.op_type == "ConvTranspose")
    return next(list(attribute.ints) for attribute in node.attribute if attribute.name == "pads")


def run(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, 3, 7), np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("pads", [(4, 2), (1, 3), (0, 5), (2, 2)])
@pytest.mark.parametrize("attributes", ["", ", kernel_shape = [6]"])
def test_the_padding_becomes_even_and_the_results_stay(pads, attributes):
    before = graph(pads, attributes=attributes)
    after = run_passes(before, [EvenPaddingPass()])
    assert pads_of(after) == [max(pads)] * 2
    np.testing.assert_allclose(run(after), run(before), rtol=0, atol=1e-6)


def test_a_quantized_kernel_is_lengthened_before_it_is_quantized():
    before = graph((4, 2), QUANTIZED.replace("ZERO", "0"), "v")
    after = run_passes(before, [EvenPaddingPass()])
    assert pads_of(after) == [4, 4]
    np.testing.assert_allclose(run(after), run(before), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "extra, weight, attributes",
    [
        (QUANTIZED.replace("ZERO", "3"), "v", ""),
        ("v = Neg(w)", "v", ""),
        ("", "w", ", dilations = [2]"),
    ],
    ids=["an offset", "a computed kernel", "a dilated kernel"],
)
def test_what_zeros_would_change_stays_as_it_is(extra, weight, attributes):
    before = graph((4, 2), extra, weight, attributes)
    after = run_passes(before, [EvenPaddingPass()])
    assert pads_of(after) == [4, 2]
    np.testing.assert_array_equal(run(after), run(before))


def test_a_model_whose_kernels_are_no_multiples_of_their_strides_streams_on_a_gpu(
    tiny_hifigan_config, tmp_path
):
    config = {**tiny_hifigan_config, "upsample_kernel_sizes": [6, 10]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    torch.save({"generator": HifiGan(HifiGanConfig.from_mapping(config)).state_dict()}, tmp_path / "g")
    root = tmp_path / "artifact"
    export_artifact(ExportRequest("hifigan", tmp_path / "g", None, root, ("fp32", "fp16")))
    streams = [entry for entry in Artifact.open(root).manifest.graphs if entry.role == "stream"]
    assert len(streams) == 2
    for entry in streams:
        session = onnxruntime.InferenceSession(root / entry.file.path)
        assert np.isfinite(session.run(None, graph_feed(entry, 16))[0]).all()
