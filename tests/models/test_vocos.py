"""Vocos: official files load as they are and give the official audio; what is not official is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos
from voirs_vocoder.runtime.mel.convention import get_convention
from voirs_vocoder.runtime.mel.filters import mel_filters

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo" / "vocos" / "shared"
TINY = {
    "n_mels": 4,
    "dim": 8,
    "intermediate_dim": 16,
    "num_layers": 2,
    "n_fft": 32,
    "hop_length": 8,
    "sampling_rate": 8000,
    "padding": "center",
}
PUBLISHED = {
    "n_mels": 100,
    "dim": 512,
    "intermediate_dim": 1536,
    "num_layers": 8,
    "n_fft": 1024,
    "hop_length": 256,
    "sampling_rate": 24000,
    "padding": "center",
}
FILTERS = "feature_extractor.mel_spec.mel_scale.fb"


def tiny(**changes):
    torch.manual_seed(0)
    model = Vocos(VocosConfig.from_mapping({**TINY, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


@pytest.fixture
def published(tmp_path):
    """A copy of the published files with changes: configuration, tensors, name of the weights' file."""

    def make(edit=None, tensors=None, drop=(), name="pytorch_model.bin", wrap=None):
        config = yaml.safe_load((ZOO / "config.yaml").read_text())
        if edit is not None:
            edit(config)
        state = torch.load(ZOO / "pytorch_model.bin", weights_only=True)
        state = {key: value for key, value in {**state, **(tensors or {})}.items() if key not in drop}
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        torch.save(state if wrap is None else wrap(state), folder / name)
        return folder

    return make


def test_a_folder_as_published_gives_the_official_audio():
    model = get_family("vocos").load(ZOO, None)
    mel, golden = torch.from_numpy(np.load(ZOO / "mel.npy"))[None], np.load(ZOO / "audio.npy")
    audio = model(mel)[0, 0].numpy()
    hop = model.config.hop_length
    assert (len(golden), len(audio)) == ((mel.shape[2] - 1) * hop, mel.shape[2] * hop)
    np.testing.assert_allclose(audio[: len(golden)], golden, atol=2e-6)
    assert read_model(ZOO, None).layout == model.layout == "Vocos by gemelo-ai"


def official_audio(model, mel):
    """The head as the official code computes it: complex spectrum, inverse transform, overlap and true envelope."""
    config = model.config
    log_magnitude, phase = model.head.out(model.backbone(mel[:, :, None])).squeeze(2).double().chunk(2, dim=1)
    magnitude = log_magnitude.exp().clip(max=100.0)
    spectrum = magnitude * torch.complex(phase.cos(), phase.sin())
    window = torch.hann_window(config.n_fft, dtype=torch.float64)
    if config.padding == "center":
        return torch.istft(spectrum, config.n_fft, config.hop_length, config.n_fft, window, center=True)[0]
    frames = torch.fft.irfft(spectrum[0].T, config.n_fft) * window
    total = torch.zeros((len(frames) - 1) * config.hop_length + config.n_fft, dtype=torch.float64)
    envelope = torch.zeros_like(total)
    for number, frame in enumerate(frames):
        place = slice(number * config.hop_length, number * config.hop_length + config.n_fft)
        total[place] += frame
        envelope[place] += window**2
    pad = (config.n_fft - config.hop_length) // 2
    return (total / envelope)[pad : len(total) - pad]


@pytest.mark.parametrize("hop_length", [8, 6, 16, 2])
@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 30])
def test_the_audio_is_official_up_to_both_ends_at_every_length(padding, frames, hop_length):
    model = tiny(padding=padding, hop_length=hop_length)
    mel = 3.0 * torch.randn(1, 4, frames)
    audio = model(mel)[0, 0]
    assert audio.shape == (frames * hop_length,)
    if padding == "same" or frames > 1:
        expected = official_audio(model, mel).float()
        torch.testing.assert_close(audio[: len(expected)], expected, rtol=1e-5, atol=1e-5)
        assert audio[len(expected) :].abs().max() < 3 * expected.abs().max() if padding == "center" else True


def test_a_loud_magnitude_is_limited_before_it_overflows():
    model = tiny()
    model.head.out.bias[: model.config.n_fft // 2 + 1] = 500.0
    mel = torch.randn(1, 4, 9)
    audio = model(mel)[0, 0]
    torch.testing.assert_close(audio[:64], official_audio(model, mel).float(), rtol=1e-4, atol=1e-3)
    assert torch.isfinite(audio).all()


def test_folded_scales_leave_the_audio_as_it_is():
    model = tiny()
    mel = torch.randn(2, 4, 20)
    before = model(mel)
    model.fold()
    torch.testing.assert_close(model(mel), before, rtol=1e-4, atol=1e-5)
    assert not any(name.endswith("gamma") for name in model.state_dict())


@pytest.mark.parametrize(("padding", "context", "look_ahead"), [("center", 28, 29), ("same", 29, 29)])
def test_context_and_look_ahead_of_the_published_size(padding, context, look_ahead):
    config = VocosConfig.from_mapping({**PUBLISHED, "padding": padding})
    assert (config.context_frames, config.look_ahead_frames) == (context, look_ahead)


@pytest.mark.parametrize("hop_length", [8, 6, 16])
@pytest.mark.parametrize("padding", ["center", "same"])
def test_an_output_depends_on_exactly_the_stated_past_and_future(padding, hop_length):
    model = tiny(padding=padding, hop_length=hop_length)
    config = model.config
    changed, hop = config.context_frames + 3, hop_length
    mel = torch.randn(1, 4, 2 * changed + 1)
    other = mel.clone()
    other[:, :, changed] += 5.0
    different = torch.nonzero((model(mel) - model(other))[0, 0]).flatten()
    first, last = int(different[0]), int(different[-1])
    assert changed * hop - first == config.look_ahead_samples
    assert last - ((changed + 1) * hop - 1) == config.context_samples
    assert (changed - first // hop, last // hop - changed) == (
        config.look_ahead_frames,
        config.context_frames,
    )


def test_the_mel_convention_is_that_of_the_official_extractor():
    config = VocosConfig.from_mapping(PUBLISHED)
    assert config.mel_convention() == get_convention("vocos-24k")
    assert config.variant == "mel-24khz"
    assert (
        VocosConfig.from_mapping({**PUBLISHED, "padding": "same"}).mel_convention().framing == "hop-aligned"
    )


def test_arguments_that_are_left_out_are_the_official_defaults(published):
    def edit(config):
        config["head"]["init_args"].pop("padding")
        config["feature_extractor"]["init_args"].pop("padding")

    read = read_model(published(edit), None).family_config(VocosConfig)
    assert (read.padding, read.mel_convention().framing) == ("same", "centered")


def fork_filters(**changes):
    import msgspec

    base = get_family("vocos").load(ZOO, None).description.mel
    convention = msgspec.structs.replace(
        base, mel_scale="slaney", mel_norm="slaney", f_max_hz=8000.0, **changes
    )
    return torch.from_numpy(mel_filters(convention).T.copy()).float()


def test_the_filters_among_the_weights_say_which_extractor_left_its_arguments_out(published):
    mel = get_family("vocos").load(published(tensors={FILTERS: fork_filters()}), None).description.mel
    assert (mel.mel_scale, mel.mel_norm, mel.f_max_hz, mel.floor) == ("slaney", "slaney", 8000.0, 1e-7)


def test_arguments_of_the_mel_are_honored_and_must_agree_with_the_filters(published):
    def edit(config):
        config["feature_extractor"]["init_args"].update(
            f_min=0, f_max=8000, norm="slaney", mel_scale="slaney", clip_val=1e-5
        )

    mel = get_family("vocos").load(published(edit, {FILTERS: fork_filters()}), None).description.mel
    assert (mel.mel_scale, mel.mel_norm, mel.f_max_hz, mel.floor) == ("slaney", "slaney", 8000.0, 1e-5)
    with pytest.raises(CheckpointError, match=r"mel filters among the weights, .*fb, must be those"):
        read_model(published(edit), None)
    with pytest.raises(CheckpointError, match="mel filters"):
        read_model(published(tensors={FILTERS: fork_filters(f_min_hz=50.0)}), None)


def test_filters_that_are_missing_leave_the_convention_to_the_configuration(published):
    folder = published(drop=(FILTERS, "head.istft.window"))
    assert get_family("vocos").load(folder, None).description.mel.mel_scale == "htk"


def test_a_checkpoint_of_a_training_loads_without_its_discriminators(published):
    extra = {
        "multiperioddisc.discriminators.0.convs.0.bias": torch.zeros(3),
        "multiresddisc.discriminators.0.convs.0.bias": torch.zeros(3),
        "melspec_loss.mel_spec.mel_scale.fb": torch.zeros(3, 3),
    }

    def edit(config):
        parts = {key: config.pop(key) for key in list(config)}
        config["model"] = {
            "class_path": "vocos.experiment.VocosExp",
            "init_args": {**parts, "sample_rate": 24000},
        }
        config["trainer"] = {"max_steps": 1000}

    folder = published(edit, extra, name="last.ckpt", wrap=lambda state: {"state_dict": state, "epoch": 3})
    mel = torch.from_numpy(np.load(ZOO / "mel.npy"))[None]
    audio = get_family("vocos").load(folder, None)(mel)[0, 0].numpy()
    np.testing.assert_allclose(audio[:624], np.load(ZOO / "audio.npy"), atol=2e-6)


def test_own_weights_load_with_a_configuration_in_the_familys_keys(tmp_path):
    import json

    model = tiny(padding="same")
    (tmp_path / "config.json").write_text(json.dumps({**TINY, "padding": "same"}))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    loaded = get_family("vocos").load(tmp_path, None)
    mel = torch.randn(1, 4, 12)
    torch.testing.assert_close(loaded(mel), model(mel), rtol=1e-4, atol=1e-5)


def _set(part, **values):
    return lambda config: config[part]["init_args"].update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("head", dropout=0.1), "not known of a ISTFTHead|not known of an? ISTFTHead"),
        (_set("backbone", kernel=9), "kernel"),
        (_set("feature_extractor", power=2), "power"),
        (_set("head", hop_length=32), "must be n_mels, dim and hop_length"),
        (_set("backbone", adanorm_num_embeddings=4), "adanorm_num_embeddings"),
        (
            lambda config: config["head"].update(class_path="vocos.heads.IMDCTSymExpHead"),
            "head.class_path must be the class ISTFTHead, got IMDCTSymExpHead",
        ),
        (
            lambda config: config["backbone"].update(class_path="vocos.models.VocosResNetBackbone"),
            "backbone.class_path must be the class VocosBackbone",
        ),
        (lambda config: config.pop("head"), "'head' must hold a section"),
    ],
)
def test_what_the_family_cannot_honor_is_refused_by_name(published, edit, message):
    with pytest.raises(ModelConfigError, match=message):
        get_family("vocos").load(published(edit), None)


def test_another_window_is_refused(published):
    with pytest.raises(CheckpointError, match=r"head\.istft\.window must be a periodic Hann window"):
        read_model(published(tensors={"head.istft.window": torch.ones(64)}), None)


def test_weights_of_another_size_are_refused(published):
    with pytest.raises(CheckpointError, match="backbone"):
        get_family("vocos").load(published(_set("backbone", num_layers=4)), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_length": 17}, "at most half of n_fft 32"),
        ({"n_fft": 31}, "n_fft must be even"),
        ({"padding": "same", "hop_length": 7}, "hop_length must be even"),
        ({"f_max": 5000.0}, "nyquist"),
        ({"padding": "none"}, "padding"),
        ({"num_layers": 0}, "num_layers"),
    ],
)
def test_a_configuration_that_no_network_has_is_refused(changes, message):
    with pytest.raises(ModelConfigError, match=message):
        VocosConfig.from_mapping({**TINY, **changes})
