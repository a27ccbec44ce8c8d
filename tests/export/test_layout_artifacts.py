"""Published files of every trainer become artifacts whose audio, stream and batch are the trainer's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.runtime import Artifact, ProviderError, Vocoder

pytestmark = pytest.mark.slow

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo"
STREAMED = (
    "transformers-speecht5-hifigan/shared",
    "transformers-fastspeech2conformer-hifigan/shared",
    "parallel-wavegan-hifigan/shared",
    "coqui-hifigan/shared",
    "nemo-hifigan/shared",
    "speechbrain-hifigan/shared",
    "transformers-speecht5-hifigan/audioldm-odd-kernel",
)


def artifact_of(place, root, **settings):
    return export_artifact(ExportRequest("auto", ZOO / place, None, root, ("fp32", "fp16"), **settings))


def golden(place):
    mel = np.load(ZOO / place / "mel.npy")
    return mel, np.load(ZOO / place / "audio.npy")


def streamed(vocoder, mel, frames):
    chunks = [mel[:, start : start + frames] for start in range(0, mel.shape[1], frames)]
    return np.concatenate([piece.samples[0] for piece in vocoder.vocode_stream(chunks)])


def require_stated_reach(vocoder, manifest, mel):
    """One changed frame must change its own samples, and none that the manifest puts beyond its reach."""
    hop, frame = manifest.hop_length, mel.shape[1] // 2
    changed = mel.copy()
    changed[:, frame] += 3.0
    difference = np.abs(vocoder.vocode(changed).samples[0] - vocoder.vocode(mel).samples[0])
    start, end = frame * hop, (frame + 1) * hop
    first = start - manifest.look_ahead_samples
    assert first > 0
    assert difference[first:start].any() == (manifest.look_ahead_samples > 0)
    assert difference[start:end].min() > 0
    assert difference[:first].max() < 1e-6
    assert difference[end + manifest.context_frames * hop :].max(initial=0) < 1e-6
    assert manifest.look_ahead_frames == -(-manifest.look_ahead_samples // hop)
    delays = {graph.facts.delay_samples for graph in manifest.graphs if graph.role == "stream"}
    assert delays == {manifest.look_ahead_samples}


@pytest.mark.parametrize("place", STREAMED)
def test_an_artifact_gives_the_trainers_audio_offline_streamed_and_in_a_batch(place, tmp_path):
    artifact = artifact_of(place, tmp_path / "artifact")
    assert {graph.role for graph in artifact.manifest.graphs} == {"offline", "stream", "batch"}
    mel, wanted = golden(place)
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        audio = vocoder.vocode(mel).samples[0]
        np.testing.assert_allclose(audio, wanted[: audio.size], atol=1e-4)
        for frames in (1, 3, 8, 16):
            np.testing.assert_allclose(streamed(vocoder, mel, frames), audio, atol=1e-5)
        short, whole = vocoder.vocode_batch([mel[:, :7], mel])
        np.testing.assert_allclose(short.samples, vocoder.vocode(mel[:, :7]).samples, atol=1e-5)
        np.testing.assert_allclose(whole.samples[0], audio, atol=1e-5)


def test_what_cannot_be_streamed_exactly_has_no_stream_graph_and_the_export_states_why(tmp_path, data_dir):
    """Ends that are repeated where the network makes samples beyond its frames."""
    source = data_dir / "hifigan" / "tiny_resblock1"
    config = json.loads((source / "config.json").read_text())
    kernels = [kernel + 1 for kernel in config["upsample_kernel_sizes"]]
    crops = [
        [(kernel - rate) // 2] * 2 for rate, kernel in zip(config["upsample_rates"], kernels, strict=True)
    ]
    changes = {"upsample_kernel_sizes": kernels, "upsample_crops": crops, "padding": "edge"}
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    torch.manual_seed(0)
    model = HifiGan(HifiGanConfig.from_mapping({**config, **changes}))
    torch.save({"generator": model.state_dict()}, tmp_path / "g_00000000")
    messages: list[str] = []
    request = ExportRequest("hifigan", tmp_path / "g_00000000", None, tmp_path / "artifact")
    export_artifact(request, lambda text, *_: messages.append(text))
    assert any("has no stream graph" in text and "must be padded by zeros" in text for text in messages)
    mel = np.load(source / "mel.npy")[0]
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        for frames in (1, 2, 5):
            assert vocoder.vocode(mel[:, :frames]).samples.shape[1] == frames * vocoder.metadata.hop_length
        with pytest.raises(ProviderError, match=r"no graph stream\.fp32"):
            vocoder.open_stream()


def test_odd_rates_stream_exactly(tmp_path):
    """Weights at random under ParallelWaveGAN's names, with the rates of its recipes for 24 kHz."""
    folder = shutil.copytree(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model")
    text = (folder / "config.yml").read_text()
    text = text.replace("  - 8\n  - 8\n  - 4\n", "  - 10\n  - 8\n  - 6\n").replace(
        "  - 4\n  - 4\n  - 2\n", "  - 5\n  - 4\n  - 3\n"
    )
    (folder / "config.yml").write_text(text.replace("hop_size: 32", "hop_size: 60"))
    saved = torch.load(folder / "checkpoint-400000steps.pkl", weights_only=True)
    weights = saved["model"]["generator"]
    for stage, kernel in ((0, 10), (2, 6)):
        name = f"upsamples.{stage}.1.weight_v"
        shape = (*weights[name].shape[:2], kernel)
        weights[name] = torch.randn(shape, generator=torch.Generator().manual_seed(stage))
    torch.save(saved, folder / "checkpoint-400000steps.pkl")
    artifact = export_artifact(ExportRequest("auto", folder, None, tmp_path / "artifact", ("fp32", "fp16")))
    mel = np.load(folder / "mel.npy")
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        audio = vocoder.vocode(mel).samples[0]
        assert audio.size == mel.shape[1] * 60
        require_stated_reach(vocoder, artifact.manifest, np.tile(mel, 3))
        for frames in (1, 3, 8):
            np.testing.assert_allclose(streamed(vocoder, mel, frames), audio, atol=1e-5)
        for alone, together in zip((mel[:, :7], mel), vocoder.vocode_batch([mel[:, :7], mel]), strict=True):
            np.testing.assert_allclose(together.samples, vocoder.vocode(alone).samples, atol=1e-5)


def test_the_manifest_names_the_layout_and_the_missing_normalization(tmp_path):
    place = "parallel-wavegan-hifigan/causal-no-stats"
    artifact_of(place, tmp_path / "artifact", normalize=False, batch=False)
    manifest = Artifact.open(tmp_path / "artifact").manifest
    assert manifest.source.layout == "HiFi-GAN of ParallelWaveGAN"
    assert not manifest.source.normalize
    assert manifest.look_ahead_frames == 0
    mel, wanted = golden(place)
    with Vocoder.load(tmp_path / "artifact") as vocoder:
        np.testing.assert_allclose(vocoder.vocode(mel).samples[0], wanted, atol=1e-4)
        np.testing.assert_allclose(streamed(vocoder, mel, 3), wanted, atol=1e-4)
        require_stated_reach(vocoder, manifest, mel)
