"""BigVGAN from published files to speech: offline, streams and batches in every precision; padding by the ends."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from tests.helpers import streamed
from tests.models.test_bigvgan import TINY, ZOO, tiny
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.export.validation.candidates import cpu_candidates
from voirs_vocoder.runtime import Artifact, Vocoder, VocodingConfig
from voirs_vocoder.runtime.metrics import snr_db

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning"),
]
FRAMES = 70
CHUNKS = [[1], [3], [8], [16], [5, 1, 40]]


def mel_of(frames, seed=1):
    return np.random.default_rng(seed).normal(-5, 2, (4, frames)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return tiny(upsample_initial_channel=32)


@pytest.fixture(scope="module")
def root(model, tmp_path_factory):
    """A tiny model with random weights, exported in every precision as a published folder is."""
    folder = tmp_path_factory.mktemp("bigvgan")
    (folder / "config.json").write_text(json.dumps({**TINY, "upsample_initial_channel": 32}))
    torch.save({"generator": model.state_dict()}, folder / "bigvgan_generator.pt")
    (folder / "mels").mkdir()
    for seed in range(2):
        np.save(folder / "mels" / f"{seed}.npy", mel_of(220, seed))
    root = folder / "artifact"
    export_artifact(
        ExportRequest("auto", folder, None, root, ("fp32", "fp16", "bf16", "int8"), folder / "mels")
    )
    return root


def test_the_manifest_says_what_it_is(root):
    manifest = Artifact.open(root).manifest
    assert (manifest.family, manifest.source.layout, manifest.driver) == (
        "bigvgan",
        "BigVGAN by NVIDIA",
        "direct",
    )
    assert {(graph.role, graph.precision) for graph in manifest.graphs} >= {
        (role, precision) for role in ("offline", "stream", "batch") for precision in ("fp32", "fp16", "int8")
    }
    delays = {
        graph.precision: graph.facts.delay_samples for graph in manifest.graphs if graph.role == "stream"
    }
    # An upsampling that is a plain convolution awaits whole positions of its input.
    later = delays.pop("bf16") - manifest.look_ahead_samples
    assert 0 <= later < manifest.hop_length
    assert set(delays.values()) == {manifest.look_ahead_samples}


def test_the_runtime_gives_what_pytorch_gives(root, model):
    mel = mel_of(FRAMES)
    with Vocoder.load(root) as vocoder:
        audio = vocoder.vocode(mel).samples
    expected = model(torch.from_numpy(mel)[None])[0].numpy()
    assert np.abs(audio).max() > 0.05
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", CHUNKS, ids=str)
def test_a_stream_equals_the_offline_pass(root, sizes):
    mel = mel_of(FRAMES)
    with Vocoder.load(root) as vocoder:
        whole = vocoder.vocode(mel, VocodingConfig(window_frames=FRAMES)).samples[0]
        np.testing.assert_allclose(streamed(vocoder, mel, sizes), whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_stream_that_is_shorter_than_its_delay_equals_the_offline_pass(root, frames):
    mel = mel_of(frames)
    with Vocoder.load(root) as vocoder:
        np.testing.assert_allclose(
            streamed(vocoder, mel, [1]), vocoder.vocode(mel).samples[0], rtol=0, atol=2e-6
        )


def test_each_utterance_of_a_batch_equals_itself_alone(root):
    mels = [mel_of(frames, seed) for seed, frames in enumerate((31, 1, 64, 7))]
    with Vocoder.load(root) as vocoder:
        for mel, audio in zip(mels, vocoder.vocode_batch(mels), strict=True):
            np.testing.assert_allclose(audio.samples, vocoder.vocode(mel).samples, rtol=0, atol=2e-6)


def test_the_reduced_precisions_stay_near(root):
    artifact, mel = Artifact.open(root), mel_of(FRAMES)
    with Vocoder.load(root) as vocoder:
        expected = vocoder.vocode(mel).samples[0]
    floors_db = {"fp16": 50.0, "bf16": 33.0, "int8.cpu": 22.0, "int8.tensorrt": 18.0}
    tried = set()
    for candidate in cpu_candidates(artifact):
        # OpenVINO adds products of signed integers in 16 bits on a CPU without VNNI, where they saturate.
        if candidate.graph in floors_db and candidate.provider == "cpu":
            with candidate.open() as vocoder:
                audio = vocoder.vocode(mel).samples[0]
            assert snr_db(expected, audio) > floors_db[candidate.graph], candidate.graph
            tried.add(candidate.graph)
    assert tried == set(floors_db)


@pytest.mark.parametrize("sizes", [[9], [7, 3]], ids=str)
def test_an_int8_stream_follows_its_offline_pass(root, sizes):
    mel = mel_of(62)
    with Vocoder.load(root, precision="int8") as vocoder:
        whole = vocoder.vocode(mel, VocodingConfig(window_frames=62)).samples[0]
        assert snr_db(whole, streamed(vocoder, mel, sizes)) > 60.0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_derived_graphs_of_reduced_precisions_stay_near_their_offline_pass(root, precision):
    for graph in Artifact.open(root).manifest.graphs:
        if graph.role in ("stream", "batch") and graph.precision == precision:
            ratio_db = graph.details["snr_db_against_offline"]
            assert ratio_db is None or ratio_db > 60.0, graph.name


def test_the_activations_stay_in_fp32(root):
    model = onnx.load(root / "graphs" / "offline.fp16.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    made = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    waves = [node for node in model.graph.node if node.op_type in ("Cos", "Sin")]
    filters = [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("Conv.")]
    assert len(waves) == 2 * 2 * 4 + 1
    assert len(filters) == 2 * len(waves)
    assert {made[node.input[0]] for node in (*waves, *filters)} == {onnx.TensorProto.FLOAT}
    assert {types[node.input[1]] for node in filters} == {onnx.TensorProto.FLOAT}


def test_a_gpu_takes_every_graph_whole(root):
    manifest = Artifact.open(root).manifest
    for entry in manifest.graphs:
        if not get_precision(entry.precision).for_gpus:
            continue
        graph = onnx.load(root / entry.file.path)
        if entry.role == "offline":
            assert "Shape" not in {node.op_type for node in graph.graph.node}, entry.name
        assert cpu_nodes(graph, fixed_sizes(graph, batch=3, frames=16, hop_length=manifest.hop_length)) == ()


def test_no_graph_holds_constants_that_nothing_reads(root):
    for entry in Artifact.open(root).manifest.graphs:
        graph = onnx.load(root / entry.file.path).graph
        read = {name for node in graph.node for name in node.input}
        assert {tensor.name for tensor in graph.initializer} <= read, entry.name


def test_a_causal_network_that_repeats_its_first_input_streams_without_delay(tmp_path):
    folder = ZOO.parent / "parallel-wavegan-hifigan" / "causal-no-stats"
    mel, golden = np.load(folder / "mel.npy"), np.load(folder / "audio.npy")
    (tmp_path / "mels").mkdir()
    for seed in range(2):
        other = np.random.default_rng(seed).normal(0, 1, (mel.shape[0], 220)).astype(np.float32)
        np.save(tmp_path / "mels" / f"{seed}.npy", other)
    artifact = export_artifact(
        ExportRequest(
            "auto",
            folder,
            None,
            tmp_path / "artifact",
            ("fp32", "fp16", "int8"),
            tmp_path / "mels",
            normalize=False,
        )
    )
    streams = [graph for graph in artifact.manifest.graphs if graph.role == "stream"]
    assert {graph.precision for graph in streams} == {"fp32", "fp16", "int8"}
    assert {graph.facts.delay_samples for graph in streams} == {0}
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        whole = vocoder.vocode(mel).samples[0]
        np.testing.assert_allclose(whole, golden, rtol=0, atol=1e-4)
        for sizes in CHUNKS:
            np.testing.assert_allclose(streamed(vocoder, mel, sizes), whole, rtol=0, atol=2e-6)
