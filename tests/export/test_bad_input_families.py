"""What is wrong with a WaveGlow or a DiffWave: one line, exit status 2, nothing written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch


@pytest.fixture
def mel(tmp_path):
    path = tmp_path / "mel.npy"
    np.save(path, np.random.default_rng(0).uniform(0, 1, (80, 12)).astype(np.float32))
    return path


@pytest.fixture
def sample(refused, tiny_diffwave, mel, tmp_path):
    """`refused` for sampling with the tiny DiffWave."""
    return lambda *more: refused("vocode", tiny_diffwave, mel, "-o", tmp_path / "out.wav", *more)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sampler", "ddim", "--steps", "51"), "between 1 and the checkpoint's 50, got 51"),
        (("--sampler", "euler"), "unknown sampler 'euler'; known: fast, ddpm, ddim, dpm-solver++, adaptive"),
        (("--sampler", "ddim", "--schedule", "warp"), "unknown schedule 'warp'; known: training, linear"),
        (("--sampler", "ddim", "--betas", "0.1,1.2"), "strictly between 0 and 1, got 1.2"),
        (("--sampler", "ddim", "--betas", "0.9,0.9"), "no training step matches step 0"),
        (("--sampler", "ddim", "--betas", "a"), "numbers separated by commas"),
        (("--sampler", "ddim", "--betas", "0.1", "--steps", "3"), "betas are a schedule and its steps"),
        (("--betas", "0.1"), "has a schedule of its own"),
        (("--steps", "4"), "has a schedule of its own, of 6 steps"),
        (("--sampler", "ddim", "--eta", "2"), "eta must be in [0, 1]"),
        (("--temperature", "3"), "temperature must be in [0, 2], got 3"),
        (("--guidance", "2"), "guidance needs a model that was also trained without a mel"),
        (("--sigma", "0.6"), "sigma means nothing to a diffwave model"),
        (("--denoise", "0.1"), "denoise means nothing to a diffwave model"),
        (
            ("--seed", str(2**64)),
            "seed must be in [0, 2^64 - 1], got 18446744073709551616; leave it out for 0",
        ),
        (("--mel-convention", "tacotron2-22k"), "takes mel convention 'lmnt-diffwave-22k'"),
    ],
)
def test_a_setting_that_does_not_suit_a_diffwave_is_refused(sample, options, said):
    assert said in sample(*options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sigma", "11"), "sigma must be in [0, 10], got 11"),
        (("--denoise", "-1"), "denoise must be in [0, 10], got -1"),
        (("--steps", "6"), "steps means nothing to a waveglow model"),
        (("--window-frames", "5"), "use at least 10"),
    ],
)
def test_a_setting_that_does_not_suit_a_waveglow_is_refused(refused, tiny_waveglow, tmp_path, options, said):
    np.save(tmp_path / "mel.npy", np.full((8, 12), -5, np.float32))
    assert said in refused("vocode", tiny_waveglow, tmp_path / "mel.npy", "-o", tmp_path / "o.wav", *options)


@pytest.fixture
def export(refused, tmp_path):
    """`refused` for exporting."""
    return lambda family, checkpoint, config, *more: refused(
        "export", family, "--checkpoint", checkpoint, "--config", config, "-o", tmp_path / "artifact", *more
    )


class Foreign:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_waveglow_pickle_with_a_foreign_class_is_refused_by_name(export, data_dir, tmp_path):
    torch.save({"model": Foreign()}, tmp_path / "waveglow.pt")
    said = export("waveglow", tmp_path / "waveglow.pt", data_dir / "waveglow" / "config.json")
    assert "class posix.system" in said
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_family_is_refused(export, data_dir):
    hifigan = data_dir / "hifigan" / "tiny_resblock1" / "generator"
    params = data_dir / "diffwave" / "tiny" / "params.json"
    assert "the weights are expected under 'model'" in export("diffwave", hifigan, params)


def test_a_configuration_of_another_family_is_refused(export, data_dir):
    weights = data_dir / "diffwave" / "tiny" / "weights.pt"
    said = export("diffwave", weights, data_dir / "waveglow" / "config.json")
    assert "is this the configuration of a DiffWave?" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("inference_noise_schedule", [0.1, 1.5], "$.inference_noise_schedule[1] must be below 1, got 1.5"),
        ("inference_noise_schedule", [0.9, 0.99], "no training step matches step 0 of the schedule"),
        ("noise_schedule", [], "$.noise_schedule must have a length of at least 1, got 0"),
    ],
)
def test_a_schedule_that_the_checkpoint_does_not_know_is_refused(
    export, data_dir, tmp_path, key, value, said
):
    folder = data_dir / "diffwave" / "tiny"
    values = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    (tmp_path / "params.json").write_text(json.dumps({**values, key: value}), encoding="utf-8")
    assert said in export("diffwave", folder / "weights.pt", tmp_path / "params.json")


def test_a_sampler_graph_of_a_model_without_steps_is_refused(export, data_dir):
    folder = data_dir / "waveglow"
    said = export("waveglow", folder / "tiny" / "state_dict.pt", folder / "config.json", "--sampler-graph")
    assert "only a diffusion model has a sampler graph" in said
