"""Every family goes from its checkpoint to audio through one code path, and the runtime says what PyTorch says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.helpers import graph_feed, streamed
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.graphs.sampler import sampler_graph
from voirs_vocoder.export.passes import Conv2dFromConv1dPass, run_passes
from voirs_vocoder.export.passes.gpu_linter import cpu_nodes, fixed_sizes
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.export.tensorrt.config import ProfileConfig
from voirs_vocoder.export.validation.candidates import cpu_candidates
from voirs_vocoder.export.validation.reference import load_reference
from voirs_vocoder.export.validation.validate import record_validation, validate_artifact
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.runtime import Artifact, InputError, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, graph_name
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.metrics import snr_db
from voirs_vocoder.runtime.noise import noise
from voirs_vocoder.runtime.providers import open_session

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning"),
]

WAVEGLOW = {
    "waveglow_config": {
        "n_mel_channels": 4,
        "n_flows": 3,
        "n_group": 8,
        "n_early_every": 2,
        "n_early_size": 2,
        "WN_config": {"n_layers": 3, "n_channels": 8, "kernel_size": 3},
    },
    "data_config": {
        "sampling_rate": 22050,
        "filter_length": 1024,
        "hop_length": 256,
        "win_length": 1024,
        "mel_fmin": 0.0,
        "mel_fmax": 8000.0,
    },
}
DIFFWAVE = {
    "sample_rate": 22050,
    "n_mels": 4,
    "n_fft": 1024,
    "hop_samples": 256,
    "residual_layers": 4,
    "residual_channels": 8,
    "dilation_cycle_length": 4,
    "noise_schedule": [float(beta) for beta in np.linspace(1e-4, 0.05, 50)],
    "inference_noise_schedule": [0.0001, 0.01, 0.2],
}
UNET = {
    "sample_rate": 22050,
    "n_mels": 4,
    "n_fft": 1024,
    "hop_samples": 256,
    "channels": [8, 8, 8, 8],
    "blocks": 1,
    "group_channels": 4,
    "attention_heads": 2,
    "attention_reach_frames": 2,
    "conditioner_channels": 2,
    "embedding_channels": 8,
    "noise_schedule": [float(beta) for beta in np.linspace(1e-4, 0.05, 50)],
    "sampler": "dpm-solver++",
    "steps": 3,
    "audio_rms": 0.1,
    "conditioning_dropout": 0.1,
}
CONFIGS = {"waveglow": WAVEGLOW, "diffwave": DIFFWAVE, "diffwave-unet": UNET}
DIFFUSION = ("diffwave", "diffwave-unet")
FRAMES = 70


@dataclass(frozen=True)
class Made:
    family: str
    checkpoint: Path
    root: Path


@pytest.fixture(scope="module", params=CONFIGS)
def made(request, tmp_path_factory):
    """A tiny model of the family with random weights, exported in every precision."""
    family = request.param
    folder = tmp_path_factory.mktemp(family)
    checkpoint = folder / "weights.pt"
    (folder / ("params.json" if family == "diffwave" else "config.json")).write_text(
        json.dumps(CONFIGS[family])
    )
    torch.save({"model": random_weights(family)}, checkpoint)
    (folder / "mels").mkdir()
    for seed in range(2):
        np.save(folder / "mels" / f"{seed}.npy", mel_of(family, 220, seed))
    root = folder / "artifact"
    export_artifact(
        ExportRequest(
            family,
            checkpoint,
            None,
            root,
            ("fp32", "fp16", "int8"),
            folder / "mels",
            sampler_graph=family in DIFFUSION,
        )
    )
    return Made(family, checkpoint, root)


def random_weights(family):
    torch.manual_seed(0)
    if family == "waveglow":
        from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig as Config
        from voirs_vocoder.reference_models.waveglow.model import WaveGlow as Model
    elif family == "diffwave":
        from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave as Model
        from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig as Config
    else:
        from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet as Model
        from voirs_vocoder.reference_models.diffusion.unet_config import UNetConfig as Config
    model = Model(Config.from_mapping(CONFIGS[family]))
    for name, parameter in model.named_parameters():
        # What starts training as zero would hide the layers before it.
        if name.endswith(("end.weight", "conv2.weight", "out.weight", "output_projection.weight")):
            torch.nn.init.normal_(parameter, 0, 0.1)
    return model.state_dict()


def mel_of(family, frames, seed=1):
    rng = np.random.default_rng(seed)
    mel = rng.normal(-5, 2, (4, frames)) if family == "waveglow" else rng.uniform(0, 1, (4, frames))
    return mel.astype(np.float32)


def test_every_graph_that_the_runtime_runs_has_one_with_lengths(made):
    graphs = {graph.name: graph for graph in Artifact.open(made.root).manifest.graphs}
    found = 0
    for graph in list(graphs.values()):
        if graph.role in BATCH_ROLES:
            batch = graphs[graph_name(BATCH_ROLES[graph.role], graph.precision, graph.target)]
            assert [info.name for info in batch.inputs] == [*(info.name for info in graph.inputs), "lengths"]
            assert batch.facts == graph.facts
            assert batch.details.get("max_error_against_offline", 0.0) <= 1e-5
            found += 1
    assert found >= 4


def test_the_runtime_says_what_pytorch_says(made):
    artifact = Artifact.open(made.root)
    mel = mel_of(made.family, FRAMES)
    with load_reference(artifact, made.checkpoint, None) as reference, Vocoder.load(made.root) as vocoder:
        expected, audio = reference.vocode(mel).samples, vocoder.vocode(mel).samples
    assert audio.shape == (1, FRAMES * 256)
    assert np.abs(audio).max() > 0.05
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-4)


def test_windows_equal_one_pass(made):
    mel = mel_of(made.family, FRAMES)
    with Vocoder.load(made.root) as vocoder:
        manifest = Artifact.open(made.root).manifest
        smallest = manifest.context_frames + manifest.look_ahead_frames + 1
        whole = vocoder.vocode(mel, VocodingConfig(window_frames=FRAMES + 1, seed=5)).samples
        for window_frames in (smallest, smallest + 7):
            config = VocodingConfig(window_frames=window_frames, seed=5)
            np.testing.assert_allclose(vocoder.vocode(mel, config).samples, whole, rtol=0, atol=1e-5)


def test_the_reduced_precisions_stay_near(made):
    artifact = Artifact.open(made.root)
    mel = mel_of(made.family, FRAMES)
    with Vocoder.load(made.root) as vocoder:
        expected = vocoder.vocode(mel).samples[0]
    floors_db = {"fp16": 45.0, "int8.cpu": 12.0, "int8.tensorrt": 12.0}
    for candidate in cpu_candidates(artifact):
        if candidate.graph in floors_db:
            with candidate.open() as vocoder:
                audio = vocoder.vocode(mel).samples[0]
            assert snr_db(expected, audio) > floors_db[candidate.graph], candidate.graph


@pytest.mark.parametrize("sizes", [[9], [16], [7, 3]], ids=str)
def test_an_int8_stream_equals_its_offline_pass_bit_for_bit(made, sizes):
    """A value that is rounded to the next step in one network would change every step of the sampler behind it."""
    mel = mel_of(made.family, 62)
    with Vocoder.load(made.root, precision="int8") as vocoder:
        whole = vocoder.vocode(mel, VocodingConfig(seed=4)).samples[0]
        np.testing.assert_array_equal(streamed(vocoder, mel, sizes, VocodingConfig(seed=4)), whole)


def test_every_graph_becomes_an_engine(made):
    config = EngineConfig("tensorrt-rtx", (86,), (ProfileConfig(frames=(1, 16, 64)),))
    artifact = build_engines(made.root, config, ("fp32", "fp16", "int8"))
    roles = {graph.role for graph in artifact.manifest.graphs}
    built = {(engine.role, engine.precision) for engine in artifact.manifest.engines}
    expected = {(role, precision) for role in roles for precision in ("fp32", "fp16", "int8")}
    assert built == expected - {("sampler", "int8")}


def test_a_gpu_takes_every_graph_whole(made):
    manifest = Artifact.open(made.root).manifest
    for entry in manifest.graphs:
        model = onnx.load(made.root / entry.file.path)
        if entry.role in ("offline", "conditioner", "step", "sampler"):
            assert "Shape" not in {node.op_type for node in model.graph.node}, entry.name
        sizes = fixed_sizes(model, batch=3, frames=16, hop_length=manifest.hop_length)
        assert cpu_nodes(model, sizes) == (), entry.name


def test_every_graph_with_2d_convolutions_gives_the_same(made):
    manifest = Artifact.open(made.root).manifest
    for entry in manifest.graphs:
        data = (made.root / entry.file.path).read_bytes()
        wide = run_passes(onnx.load_from_string(data), [Conv2dFromConv1dPass()]).SerializeToString()
        feed = graph_feed(entry, manifest.hop_length, 16)
        wanted, got = (onnxruntime.InferenceSession(form).run(None, feed)[0] for form in (data, wide))
        if entry.precision == "fp32":
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * max(1, np.abs(wanted).max()))
        else:
            assert snr_db(wanted.reshape(-1), got.reshape(-1)) > 45, entry.name


def test_a_validation_measures_what_ran_and_nothing_else(made, sample_recordings, tmp_path):
    speech = tmp_path / "speech"
    speech.mkdir()
    (speech / sample_recordings[0].name).write_bytes(sample_recordings[0].read_bytes())
    report = validate_artifact(made.root, speech, checkpoint=made.checkpoint)
    assert next(row for row in report.rows if row.graph == "fp32").gates[0].status == "passed"
    artifact = record_validation(made.root, report)
    for graph in artifact.manifest.graphs:
        runs = graph.role in ("offline", "conditioner", "step")
        assert (graph.validation is not None) == runs, graph.name


def test_the_sampler_graph_gives_what_the_loop_gives(made):
    if made.family not in DIFFUSION:
        pytest.skip("a sampler graph is a diffusion model's")
    manifest = Artifact.open(made.root).manifest
    plan = chosen_plan(manifest.diffusion, VocodingConfig())
    mel = mel_of(made.family, 20)
    with Vocoder.load(made.root) as vocoder:
        expected = vocoder.vocode(mel, VocodingConfig(seed=3)).samples[0]
    draws = [noise(3, draw, 0, expected.size) for draw in range(len(plan.steps))]
    session = onnxruntime.InferenceSession(made.root / "graphs" / "sampler.fp32.onnx")
    feed = {"mel": mel[np.newaxis], "noise": np.stack(draws)[:, np.newaxis, np.newaxis]}
    np.testing.assert_allclose(session.run(None, feed)[0].reshape(-1), expected, rtol=0, atol=1e-4)


def test_an_adaptive_plan_is_not_unrolled(made):
    if made.family not in DIFFUSION:
        pytest.skip("a sampler graph is a diffusion model's")
    diffusion = Artifact.open(made.root).manifest.diffusion
    family = get_family(made.family)
    specs = family.graphs(family.load(made.checkpoint, None))
    with pytest.raises(ExportError, match="decides as it goes"):
        sampler_graph(specs, chosen_plan(diffusion, VocodingConfig(sampler="adaptive")), 256)


def test_guidance_is_for_models_that_were_trained_for_it(made):
    mel = mel_of(made.family, 10)
    config = VocodingConfig(guidance=2.0)
    with Vocoder.load(made.root) as vocoder:
        if made.family == "diffwave-unet":
            plain, guided = vocoder.vocode(mel).samples, vocoder.vocode(mel, config).samples
            assert np.abs(plain - guided).max() > 1e-4
        else:
            with pytest.raises(InputError, match=r"guidance (needs a model|means nothing to a waveglow)"):
                vocoder.vocode(mel, config)


def test_a_flow_scales_its_noise_and_takes_its_bias_off(made):
    mel = mel_of(made.family, 10)
    with Vocoder.load(made.root) as vocoder:
        if made.family != "waveglow":
            with pytest.raises(InputError, match="denoise means nothing"):
                vocoder.vocode(mel, VocodingConfig(denoise=0.1))
            return
        quiet, usual, denoised = (
            vocoder.vocode(mel, config).samples
            for config in (VocodingConfig(sigma=0.0), VocodingConfig(), VocodingConfig(denoise=1.0))
        )
        assert np.abs(usual - quiet).std() > 0.1
        assert np.square(denoised).mean() < np.square(usual).mean()


def test_noise_of_another_shape_is_refused(made):
    """What a caller of the graph alone may get wrong; the driver cannot."""
    if made.family != "waveglow":
        pytest.skip("only a flow's graph takes noise")
    session, _ = open_session(Artifact.open(made.root), "offline", "fp32", "cpu", SessionConfig())
    feed = {"mel": mel_of(made.family, 10)[np.newaxis], "noise": np.zeros((1, 8, 99), np.float32)}
    with pytest.raises(InputError, match=r"takes mel .*, noise .*, got"):
        session.run(feed)
