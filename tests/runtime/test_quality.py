"""Quality levels and performance modes: chosen from what is there and was measured, refused where they contradict."""

import shutil

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.artifact.writer import locked_artifact, replace_manifest, with_files
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Diffusion
from voirs_vocoder.runtime.artifact.sweep import SWEEP_PATH
from voirs_vocoder.runtime.quality import estimate_cost, quality_plan

POINTS = [
    {"sampler": "ddim", "steps": 20, "rtf": 1.0, "pesq_wb": 2.00, "stoi": 0.9, "lsd": 1.0},
    {"sampler": "dpm-solver++", "steps": 8, "rtf": 0.4, "pesq_wb": 1.97, "stoi": 0.9, "lsd": 1.0},
    {"sampler": "dpm-solver++", "steps": 4, "rtf": 0.2, "pesq_wb": 1.85, "stoi": 0.9, "lsd": 1.0},
    {"sampler": "fast", "steps": None, "rtf": 0.1, "pesq_wb": 1.55, "stoi": 0.9, "lsd": 1.0},
    {"sampler": "ddim", "steps": 2, "rtf": 0.05, "pesq_wb": 1.1, "stoi": 0.9, "lsd": 1.0},
]


def changed(artifact, **fields):
    return Artifact(artifact.root, msgspec.structs.replace(artifact.manifest, **fields))


def with_int8_loss(artifact, lost):
    graphs = tuple(
        msgspec.structs.replace(graph, validation=None if lost is None else {"pesq_lost": lost})
        for graph in artifact.manifest.graphs
    )
    return changed(artifact, graphs=graphs)


@pytest.fixture
def artifact(tiny_artifact):
    return Artifact.open(tiny_artifact)


@pytest.fixture
def swept(tiny_artifact, tmp_path):
    """As if it were a diffusion model with a sweep."""
    root = shutil.copytree(tiny_artifact, tmp_path / "swept")
    report = {
        "family": "diffwave",
        "variant": "custom",
        "precision": "fp32",
        "backend": "test",
        "recordings": 1,
        "speech_s": 1.0,
        "points": POINTS,
        "knee": 0,
    }
    files = {SWEEP_PATH: msgspec.json.encode(report)}
    with locked_artifact(root) as artifact:
        replace_manifest(artifact, with_files(artifact.manifest, files), files)
    diffusion = Diffusion(
        training_betas=(0.001,) * 50, fast_betas=None, sampler="ddim", steps=8, drops_conditioning=False
    )
    return changed(Artifact.open(root), diffusion=diffusion)


@pytest.mark.parametrize(
    ("quality", "lost", "precision"),
    [
        ("ultra", 0.0, "fp32"),
        ("high", 0.0, "fp32"),
        ("medium", 0.05, "int8"),
        ("medium", 0.3, "fp32"),
        ("medium", None, "fp32"),
        ("low", 0.3, "int8"),
        ("low", None, "int8"),
    ],
)
def test_int8_is_taken_for_what_it_was_measured_to_lose(artifact, quality, lost, precision):
    assert quality_plan(with_int8_loss(artifact, lost), quality).precision == precision


def test_a_gpu_runs_fp16_where_a_cpu_would_gain_nothing(artifact):
    assert quality_plan(artifact, "high", provider="cuda").precision == "fp16"
    assert quality_plan(artifact, "high", provider="cpu").precision == "fp32"
    without = changed(artifact, graphs=tuple(g for g in artifact.manifest.graphs if g.precision == "fp32"))
    plan = quality_plan(without, "low")
    assert plan.precision == "fp32"
    assert "no INT8" in plan.reasons[0]


@pytest.mark.parametrize(
    ("quality", "sampler", "steps"),
    [
        ("ultra", "ddim", 20),
        ("high", "dpm-solver++", 8),
        ("medium", "dpm-solver++", 4),
        ("low", "fast", None),
    ],
)
def test_steps_are_the_cheapest_that_lose_no_more_than_the_level_allows(swept, quality, sampler, steps):
    plan = quality_plan(swept, quality)
    assert (plan.sampler, plan.steps) == (sampler, steps)


def test_without_a_sweep_levels_have_steps_of_their_own(swept, artifact):
    plain = changed(artifact, diffusion=swept.manifest.diffusion)
    assert [quality_plan(plain, level).steps for level in ("low", "medium", "high", "ultra")] == [
        3,
        6,
        12,
        24,
    ]


def test_a_damaged_sweep_is_one_error(swept):
    entry = next(entry for entry in swept.manifest.files if entry.path == SWEEP_PATH)
    (swept.root / entry.path).write_bytes(b"[" * entry.size_bytes)
    with pytest.raises(ArtifactError):
        quality_plan(swept, "low")


def test_modes_choose_threads_and_memory(artifact):
    economy, speed = (quality_plan(artifact, "high", mode).session for mode in ("economy", "speed"))
    assert (economy.threads, economy.spinning) == (1, False)
    assert economy.activation_budget_bytes < speed.activation_budget_bytes
    with pytest.raises(InputError, match="quality must be one of"):
        quality_plan(artifact, "best")


def test_the_estimate_is_of_this_machine(artifact, tiny_artifact):
    with Vocoder.load(tiny_artifact) as vocoder:
        short = estimate_cost(vocoder, artifact, VocodingConfig(), 100, SessionConfig())
        long = estimate_cost(vocoder, artifact, VocodingConfig(), 1_000_000, SessionConfig())
    assert 0 < short.rtf < 10
    assert 20e6 < short.peak_bytes < long.peak_bytes


def test_the_command_line_says_what_it_chose_and_refuses_contradictions(tiny_artifact, tmp_path):
    mel, out = tmp_path / "mel.npy", tmp_path / "a.wav"
    np.save(mel, np.random.default_rng(0).uniform(-9, 0, (10, 50)).astype(np.float32))

    def run(*arguments):
        return CliRunner().invoke(main, ["vocode", str(tiny_artifact), str(mel), "-o", str(out), *arguments])

    chosen = run("--quality", "low", "--performance", "economy")
    assert chosen.exit_code == 0, chosen.output
    assert "quality low: INT8" in chosen.output
    assert "expected: RTF" in chosen.output
    assert "int8 on cpu" in chosen.output
    out.unlink()
    assert run("--estimate").exit_code == 0
    assert not out.exists()
    for contradiction in (
        ("--quality", "low", "--precision", "fp32"),
        ("--performance", "speed", "--threads", "1"),
    ):
        refused = run(*contradiction)
        assert refused.exit_code == 2
        assert "decides" in refused.output
