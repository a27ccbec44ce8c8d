"""Vocos goes from published files to audio in every role and precision, and its graphs are exact at both ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.helpers import streamed
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import get_precision
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.export.tensorrt.config import ProfileConfig
from voirs_vocoder.export.validation.candidates import cpu_candidates
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos
from voirs_vocoder.runtime import Artifact, Vocoder, VocodingConfig
from voirs_vocoder.runtime.metrics import snr_db

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning"),
]

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo" / "vocos" / "shared"
CONFIG = {
    "n_mels": 20,
    "dim": 64,
    "intermediate_dim": 192,
    "num_layers": 3,
    "n_fft": 256,
    "hop_length": 64,
    "sampling_rate": 8000,
}


@dataclass(frozen=True)
class Made:
    padding: str
    checkpoint: Path
    root: Path


def mel_of(frames, seed=1):
    return np.random.default_rng(seed).normal(-5, 2, (20, frames)).astype(np.float32)


@pytest.fixture(scope="module", params=["center", "same"])
def made(request, tmp_path_factory):
    """A small model with random weights, exported in every precision."""
    folder = tmp_path_factory.mktemp(request.param)
    config = {**CONFIG, "padding": request.param}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = Vocos(VocosConfig.from_mapping(config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # About the gain of a trained network: channels keep their size, phases span the circle.
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif not name.endswith("bias"):
                parameter.uniform_(0.5, 1.5)
        model.head.out.weight[CONFIG["n_fft"] // 2 + 1 :] *= 3.0
        model.head.out.bias[: CONFIG["n_fft"] // 2 + 1] = -2.0
    torch.save(model.state_dict(), folder / "weights.pt")
    (folder / "mels").mkdir()
    for seed in range(2):
        np.save(folder / "mels" / f"{seed}.npy", mel_of(220, seed))
    request_ = ExportRequest(
        "vocos",
        folder / "weights.pt",
        None,
        folder / "artifact",
        ("fp32", "fp16", "bf16", "int8"),
        folder / "mels",
    )
    export_artifact(request_)
    return Made(request.param, folder / "weights.pt", folder / "artifact")


def test_published_files_are_recognized_and_vocoded_as_officially(tmp_path):
    recognized = []
    artifact = export_artifact(
        ExportRequest("auto", ZOO, None, tmp_path / "artifact"), lambda task, *_: recognized.append(task)
    )
    assert "recognized Vocos by gemelo-ai, family vocos" in recognized
    assert artifact.manifest.source.layout == "Vocos by gemelo-ai"
    offline = next(graph for graph in artifact.manifest.graphs if graph.role == "offline")
    assert offline.details["official_samples"] == "(frames-1)*hop_length"
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        audio = vocoder.vocode(np.load(ZOO / "mel.npy")).samples[0]
    golden = np.load(ZOO / "audio.npy")
    np.testing.assert_allclose(audio[: len(golden)], golden, rtol=0, atol=5e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 40])
def test_the_runtime_gives_the_models_audio_at_every_length(made, frames):
    model = get_family("vocos").load(made.checkpoint, None)
    expected = model(torch.from_numpy(mel_of(frames))[None])[0].numpy()
    with Vocoder.load(made.root) as vocoder:
        audio = vocoder.vocode(mel_of(frames)).samples
    assert audio.shape == (1, frames * 64)
    np.testing.assert_allclose(audio, expected, rtol=0, atol=5e-6)


def test_a_graph_that_is_read_in_pieces_gives_the_same(made, monkeypatch):
    """As large ones are."""
    with Vocoder.load(made.root) as vocoder:
        expected = vocoder.vocode(mel_of(30)).samples
    monkeypatch.setattr("voirs_vocoder.runtime.providers.onnxruntime._SPLIT_FROM_BYTES", 0)
    with Vocoder.load(made.root) as vocoder:
        np.testing.assert_array_equal(vocoder.vocode(mel_of(30)).samples, expected)


@pytest.mark.parametrize("size", [1, 3, 8, 16])
@pytest.mark.parametrize("frames", [1, 2, 47])
def test_a_stream_equals_the_offline_pass_up_to_both_ends(made, frames, size):
    with Vocoder.load(made.root) as vocoder:
        whole = vocoder.vocode(mel_of(frames), VocodingConfig(window_frames=100)).samples[0]
        np.testing.assert_allclose(streamed(vocoder, mel_of(frames), [size]), whole, rtol=0, atol=5e-6)


def test_a_row_of_a_batch_is_as_if_alone(made):
    mels = [mel_of(frames, seed) for seed, frames in enumerate((1, 19, 2, 40))]
    with Vocoder.load(made.root) as vocoder:
        alone = [vocoder.vocode(mel).samples for mel in mels]
        for result, expected in zip(vocoder.vocode_batch(mels), alone, strict=True):
            np.testing.assert_allclose(result.samples, expected, rtol=0, atol=5e-6)


def test_windows_equal_one_pass(made):
    mel = mel_of(90)
    manifest = Artifact.open(made.root).manifest
    smallest = manifest.context_frames + manifest.look_ahead_frames + 1
    with Vocoder.load(made.root) as vocoder:
        whole = vocoder.vocode(mel, VocodingConfig(window_frames=91)).samples
        windows = vocoder.vocode(mel, VocodingConfig(window_frames=smallest)).samples
    np.testing.assert_allclose(windows, whole, rtol=0, atol=5e-6)


def test_reduced_precisions_reach_the_gates_of_their_snr(made):
    mel = mel_of(120)
    with Vocoder.load(made.root) as vocoder:
        expected = vocoder.vocode(mel).samples[0]
    judged = set()
    for candidate in cpu_candidates(Artifact.open(made.root)):
        if candidate.provider != "cpu":
            # OpenVINO adds products of signed integers in 16 bits on a CPU without VNNI, where they saturate.
            continue
        precision, _, target = candidate.graph.partition(".")
        for gate in get_precision(precision).gates_of(target or None):
            if gate.figure == "snr_db":
                with candidate.open() as vocoder:
                    audio = vocoder.vocode(mel).samples[0]
                assert snr_db(expected, audio) > gate.limit, candidate.graph
                judged.add(candidate.graph)
    assert judged == {"fp16", "bf16", "int8.cpu", "int8.tensorrt"}


def test_only_the_layers_within_a_frame_are_quantized(made):
    manifest = Artifact.open(made.root).manifest
    counts = {graph.name: graph.facts.quantized_convolutions for graph in manifest.graphs}
    assert counts["offline.int8.cpu"] == counts["offline.int8.tensorrt"] == 2 * CONFIG["num_layers"]


@pytest.mark.parametrize("size", [3, 8])
def test_an_int8_stream_follows_its_offline_pass(made, size):
    with Vocoder.load(made.root, precision="int8") as vocoder:
        whole = vocoder.vocode(mel_of(47)).samples[0]
        assert snr_db(whole, streamed(vocoder, mel_of(47), [size])) > 60


def test_a_gpu_takes_every_graph_whole(made):
    manifest = Artifact.open(made.root).manifest
    for entry in manifest.graphs:
        if not get_precision(entry.precision).for_gpus:
            continue
        model = onnx.load(made.root / entry.file.path)
        sizes = fixed_sizes(model, batch=3, frames=16, hop_length=manifest.hop_length)
        assert cpu_nodes(model, sizes) == (), entry.name


def test_every_graph_becomes_an_engine(made):
    if made.padding == "same":
        pytest.skip("its graphs have the operators of the other padding")
    config = EngineConfig("tensorrt-rtx", (86,), (ProfileConfig(frames=(1, 16, 64)),))
    artifact = build_engines(made.root, config, ("fp32", "fp16", "int8"))
    roles = {graph.role for graph in artifact.manifest.graphs}
    built = {(engine.role, engine.precision) for engine in artifact.manifest.engines}
    assert built == {(role, precision) for role in roles for precision in ("fp32", "fp16", "int8")}
