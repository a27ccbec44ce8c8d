"""The configuration of the U-Net variant of DiffWave, which is this project's own, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voirs_vocoder.reference_models.config_values import (
    MAX_SAMPLING_RATE,
    MAX_SIZE,
    ConfigValues,
    config_from_json,
    require,
)
from voirs_vocoder.reference_models.diffusion.diffwave_config import diffusion_betas, diffwave_mel_convention

__all__ = ["CONDITIONER_REACH_FRAMES", "STRIDE", "UNetConfig"]

STRIDE = 4
"""Between one resolution and the next."""

# Two convolutions of three frames, and the stretching, whose kernel is twice its stride.
CONDITIONER_REACH_FRAMES = 3

_MAX_LEVELS = 6
_MAX_BLOCKS = 8
_MAX_REACH = 64


@dataclass(frozen=True)
class UNetConfig:
    """A U-Net over the waveform.

    Attributes:
        sample_rate: In Hz.
        n_mels: Mel bands.
        n_fft: FFT size and window length of the mel spectrogram, in the convention of lmnt-com's DiffWave.
        hop_samples: Samples between mel frames; a power of 4.
        channels: At each resolution, from a quarter of the sample rate down to the frame rate, the bottleneck.
        blocks: Residual blocks at each resolution, on the way down and on the way up.
        group_channels: Channels that are normalized together.
        attention_heads: Of the attention at the bottleneck.
        attention_reach_frames: Positions on each side that a position attends to.
        conditioner_channels: Of the mel at the audio's rate.
        embedding_channels: Of the step.
        noise_schedule: Betas of training.
        audio_rms: About that of the audio, which the network's own scales go by.
        sampler: The default.
        steps: Its default number of steps.
        conditioning_dropout: Share of training examples whose mel was withheld; 0 means that guidance is not possible.
        source: The JSON object as read.
    """

    sample_rate: int
    n_mels: int
    n_fft: int
    hop_samples: int
    channels: tuple[int, ...]
    blocks: int
    group_channels: int
    attention_heads: int
    attention_reach_frames: int
    conditioner_channels: int
    embedding_channels: int
    noise_schedule: tuple[float, ...]
    audio_rms: float
    sampler: str
    steps: int
    conditioning_dropout: float
    source: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything that the network and the runtime rely on."""
        for name in (
            "sample_rate",
            "n_mels",
            "n_fft",
            "blocks",
            "group_channels",
            "attention_heads",
            "conditioner_channels",
            "embedding_channels",
            "steps",
        ):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            len(self.channels) >= 1 and self.hop_samples == STRIDE ** len(self.channels),
            f"hop_samples must be {STRIDE} to the power of the number of resolutions, {len(self.channels)}",
            self.hop_samples,
        )
        for channels in self.channels:
            require(
                channels >= self.group_channels and channels % self.group_channels == 0,
                f"channels must be multiples of group_channels {self.group_channels}",
                channels,
            )
        require(
            self.channels[-1] % self.attention_heads == 0,
            f"attention_heads must divide the bottleneck's {self.channels[-1]} channels",
            self.attention_heads,
        )
        require(
            0 <= self.attention_reach_frames <= _MAX_REACH,
            f"attention_reach_frames must be between 0 and {_MAX_REACH}",
            self.attention_reach_frames,
        )
        require(
            self.steps <= len(self.noise_schedule),
            f"steps must be at most those of training, {len(self.noise_schedule)}",
            self.steps,
        )
        require(0.0 < self.audio_rms <= 1.0, "audio_rms must be in (0, 1]", self.audio_rms)
        require(
            0.0 <= self.conditioning_dropout < 1.0,
            "conditioning_dropout must be in [0, 1)",
            self.conditioning_dropout,
        )

    @classmethod
    def from_json(cls, path: Path) -> UNetConfig:
        """Read a configuration file.

        Raises:
            ModelConfigError: It cannot be read, is not JSON, lacks a key, or does not make sense.
        """
        return config_from_json(path, cls.from_mapping)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> UNetConfig:
        """Build from the keys of a JSON file.

        Raises:
            ModelConfigError: A key is missing, of the wrong type, or does not make sense.
        """
        keys = ConfigValues(values, "DiffWave U-Net")
        return cls(
            sample_rate=keys.integer("sample_rate", MAX_SAMPLING_RATE),
            n_mels=keys.integer("n_mels"),
            n_fft=keys.integer("n_fft", MAX_SIZE << 4),
            hop_samples=keys.integer("hop_samples", MAX_SIZE),
            channels=keys.integers("channels", MAX_SIZE, _MAX_LEVELS),
            blocks=keys.integer("blocks", _MAX_BLOCKS),
            group_channels=keys.integer("group_channels"),
            attention_heads=keys.integer("attention_heads"),
            attention_reach_frames=keys.integer("attention_reach_frames", _MAX_REACH),
            conditioner_channels=keys.integer("conditioner_channels"),
            embedding_channels=keys.integer("embedding_channels"),
            noise_schedule=diffusion_betas(keys, "noise_schedule"),
            audio_rms=float(keys.get("audio_rms", (int, float))),
            sampler=str(keys.get("sampler", (str,))),
            steps=keys.integer("steps"),
            conditioning_dropout=float(keys.get("conditioning_dropout", (int, float))),
            source=dict(values),
        )

    @property
    def context_samples(self) -> int:
        """Samples before a frame, and after it, that are heard or read through one evaluation of the network.

        The positions that one frame reaches are followed down through every resolution and up again: a resampling
        convolution, whose kernel is twice its stride, joins coarse position q and fine positions 4 q - 2 to 4 q + 5; a
        block's two convolutions of three add one position on each side each; attention adds its reach.
        """
        first, last = 0, self.hop_samples - 1
        half = STRIDE // 2
        for _ in self.channels:
            first, last = -((STRIDE + half - 1 - first) // STRIDE), (last + half) // STRIDE
            first, last = first - 2 * self.blocks, last + 2 * self.blocks
        first, last = first - self.attention_reach_frames, last + self.attention_reach_frames
        for _ in self.channels:
            first, last = first - 2 * self.blocks, last + 2 * self.blocks
            first, last = STRIDE * first - half, STRIDE * last + STRIDE + half - 1
        return max(-first, last - (self.hop_samples - 1))

    @property
    def context_frames(self) -> int:
        """The same in whole mel frames."""
        return math.ceil(self.context_samples / self.hop_samples)

    def mel_convention(self) -> dict[str, object]:
        """See `diffwave_mel_convention`."""
        return diffwave_mel_convention(self.sample_rate, self.n_fft, self.hop_samples, self.n_mels)
