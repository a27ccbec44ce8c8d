"""Vocos of gemelo-ai: config.yaml of classes and their arguments, with pytorch_model.bin or the .ckpt of a training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec
import numpy as np
from torch import Tensor

from voirs_vocoder.reference_models.checkpoints.reading import Checkpoint
from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, renamed, section
from voirs_vocoder.runtime.dsp import hann_window
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.filters import mel_filters

__all__ = ["VocosLayout"]

_PARTS = {
    "feature_extractor": "MelSpectrogramFeatures",
    "backbone": "VocosBackbone",
    "head": "ISTFTHead",
}
_FILTERS = "feature_extractor.mel_spec.mel_scale.fb"
_WINDOWS = ("feature_extractor.mel_spec.spectrogram.window", "head.istft.window")
_TRAINING = re.compile(r"(?:multi\w*disc|\w*discriminators?|\w*_loss|feature_extractor\.mel_spec)\..*")
_LINEAR = re.compile(r"(?:backbone\.convnext\.\d+\.pwconv[12]|head\.out)\.weight")
_CONVOLUTION = re.compile(r"backbone\.(?:embed|convnext\.\d+\.dwconv)\.weight")
# Filters and windows are computed in single precision, from edges that lie up to 2e-5 of a bin apart.
_TOLERANCE = 2e-4


class _FeatureKeys(ModelConfig, frozen=True, kw_only=True):
    """Arguments of MelSpectrogramFeatures: those of vocos 0.1.0, and those of langtech-bsc's fork from `f_min` on."""

    title: ClassVar[str] = "MelSpectrogramFeatures of Vocos"

    sample_rate: SamplingRateHz = 24000
    n_fft: SampleCount = 1024
    hop_length: SampleCount = 256
    n_mels: Count = 100
    padding: Literal["center", "same"] = "center"
    f_min: FrequencyHz | None = None
    f_max: FrequencyHz | None = None
    norm: Literal["slaney"] | None = None
    mel_scale: Literal["htk", "slaney"] | None = None
    clip_val: float = 1e-7

    def convention(self, *, fork: bool) -> MelConvention:
        """The mel spectrogram that these arguments describe.

        Args:
            fork: Whether arguments that are not given are those of langtech-bsc's fork: Slaney's scale and norm, up to
                8000 Hz.
        """
        given = self.source
        f_max = self.f_max if "f_max" in given else (8000.0 if fork else None)
        norm = self.norm if "norm" in given else ("slaney" if fork else None)
        scale = self.mel_scale or ("slaney" if fork else "htk")
        return trainer_convention(
            "vocos-24k",
            "vocos",
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            win_length=self.n_fft,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            framing="centered" if self.padding == "center" else "hop-aligned",
            f_min_hz=self.f_min or 0.0,
            f_max_hz=f_max or self.sample_rate / 2,
            mel_scale=scale,
            mel_norm=norm or "none",
            floor=self.clip_val,
        )


class _BackboneKeys(ModelConfig, frozen=True, kw_only=True):
    """Arguments of VocosBackbone."""

    title: ClassVar[str] = "VocosBackbone"
    # With what the training begins.
    ignored: ClassVar[tuple[str, ...]] = ("layer_scale_init_value",)

    input_channels: Count
    dim: Count
    intermediate_dim: int
    num_layers: int
    adanorm_num_embeddings: None = None


class _HeadKeys(ModelConfig, frozen=True, kw_only=True):
    """Arguments of ISTFTHead."""

    title: ClassVar[str] = "ISTFTHead"

    dim: Count
    n_fft: SampleCount
    hop_length: SampleCount
    padding: Literal["center", "same"] = "same"


class VocosLayout:
    """The weights as a bare state dict, or a training's under `state_dict`, beside discriminators."""

    name = "Vocos by gemelo-ai"
    family = "vocos"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration names the classes, or the weights' names are theirs and it has other keys."""
        config = seen.config
        if all(isinstance(part, Mapping) and "class_path" in part for part in map(config.get, _PARTS)):
            return True
        named = seen.has(r"backbone\.convnext\.0\.dwconv\.weight") and seen.has(r"head\.out\.weight")
        return named and "intermediate_dim" not in config

    def read(self, seen: Seen) -> ReadModel:
        """Take the classes' arguments, and check the filters and windows among the weights."""
        config, where = seen.package.config(), seen.package.config_name
        network = _network(config, where)
        arguments = {part: _arguments(network, part, where) for part in _PARTS}
        features = parsed(_FeatureKeys, arguments["feature_extractor"], seen, "feature_extractor")
        backbone = parsed(_BackboneKeys, arguments["backbone"], seen, "backbone")
        head = parsed(_HeadKeys, arguments["head"], seen, "head")
        require(
            (backbone.input_channels, head.dim, head.hop_length)
            == (features.n_mels, backbone.dim, features.hop_length),
            f"{where}: backbone.input_channels, head.dim and head.hop_length must be n_mels, dim and hop_length, "
            f"{[features.n_mels, backbone.dim, features.hop_length]}",
            [backbone.input_channels, head.dim, head.hop_length],
        )
        weights = seen.weights("state_dict")
        mel = _convention(features, weights)
        for name in _WINDOWS:
            _check_window(weights, name)
        return ReadModel(
            layout=self.name,
            family=self.family,
            config={
                "n_mels": features.n_mels,
                "dim": backbone.dim,
                "intermediate_dim": backbone.intermediate_dim,
                "num_layers": backbone.num_layers,
                "n_fft": head.n_fft,
                "hop_length": head.hop_length,
                "sampling_rate": features.sample_rate,
                "padding": head.padding,
                "f_min": mel.f_min_hz,
                "f_max": mel.f_max_hz,
                "mel": msgspec.to_builtins(mel),
            },
            published=config,
            config_name=where,
            checkpoint=_own(weights),
        )


def _network(config: Mapping[str, object], where: str) -> Mapping[str, object]:
    """The section that holds the classes: the file itself, or that of a training."""
    if "model" not in config:
        return config
    return section(section(config, "model", where), "init_args", where)


def _arguments(network: Mapping[str, object], part: str, where: str) -> Mapping[str, object]:
    """The arguments of one part, whose class must be the one that this project builds."""
    found = section(network, part, where)
    name = str(found.get("class_path", "")).rpartition(".")[2]
    if name != _PARTS[part]:
        raise ModelConfigError(
            f"{where}: {part}.class_path must be the class {_PARTS[part]}, got {name or 'none'}; this project builds "
            "no other, run it in the vocos package"
        )
    return section(found, "init_args", where) if found.get("init_args") is not None else {}


def _convention(features: _FeatureKeys, weights: Checkpoint) -> MelConvention:
    """The mel convention whose filters lie among the weights; the official one where none do."""
    official = features.convention(fork=False)
    found = weights.tensors.get(_FILTERS)
    if found is None:
        return official
    for convention in (official, features.convention(fork=True)):
        own = mel_filters(convention).T
        if found.shape == own.shape and np.allclose(
            found.numpy(), own, rtol=0, atol=_TOLERANCE * float(own.max())
        ):
            return convention
    raise CheckpointError(
        f"{weights.path}: the mel filters among the weights, {_FILTERS}, must be those of the configuration "
        f"({official.n_mels} bands, {official.f_min_hz:g} to {official.f_max_hz:g} Hz, {official.mel_scale}), got "
        "others; give the configuration of this checkpoint, with f_min, f_max, norm and mel_scale"
    )


def _check_window(weights: Checkpoint, name: str) -> None:
    found = weights.tensors.get(name)
    if found is not None and not (
        found.ndim == 1
        and np.allclose(found.numpy(), hann_window(found.numel(), found.numel()), rtol=0, atol=_TOLERANCE)
    ):
        raise CheckpointError(
            f"{weights.path}: {name} must be a periodic Hann window, got another one of shape {list(found.shape)}; "
            "run this model in the vocos package"
        )


def _own(weights: Checkpoint) -> Checkpoint:
    """Without what only training and the mel need; linear layers and convolutions over time with two axes."""
    kept = renamed(weights, lambda name: None if _TRAINING.fullmatch(name) or name in _WINDOWS else name)
    return kept.with_tensors({name: _two_axes(name, tensor) for name, tensor in kept.tensors.items()})


def _two_axes(name: str, tensor: Tensor) -> Tensor:
    if _LINEAR.fullmatch(name) and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor[:, :, None] if _CONVOLUTION.fullmatch(name) and tensor.ndim == 3 else tensor
