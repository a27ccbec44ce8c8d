"""The configuration of the U-Net variant of DiffWave, which is this project's own, and what follows from it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from msgspec import Meta

from voirs_vocoder.reference_models.config import (
    Betas,
    Count,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
)
from voirs_vocoder.reference_models.diffusion.diffwave_config import diffwave_mel_convention
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["CONDITIONER_REACH_FRAMES", "STRIDE", "UNetConfig"]

STRIDE = 4
"""Ratio of one resolution to the next."""

# Two convolutions of three frames, and the stretching, whose kernel is twice its stride.
CONDITIONER_REACH_FRAMES = 3


class UNetConfig(ModelConfig, frozen=True, kw_only=True):
    """A U-Net over the waveform.

    Attributes:
        sample_rate: Sampling rate in Hz.
        n_mels: Number of mel bands.
        n_fft: FFT size and window length of the mel spectrogram in samples, in the convention of lmnt-com's DiffWave.
        hop_samples: Audio samples between mel frames; a power of 4.
        channels: Channels at each resolution, from a quarter of the sample rate down to the frame rate, the bottleneck.
        blocks: Number of residual blocks at each resolution, on the way down and on the way up.
        group_channels: Number of channels that are normalized together.
        attention_heads: Number of heads of the attention at the bottleneck.
        attention_reach_frames: Positions on each side that a position attends to.
        conditioner_channels: Channels of the mel at the audio's rate.
        embedding_channels: Channels of the embedded diffusion step.
        noise_schedule: Betas of the training schedule.
        audio_rms: Approximate RMS of the audio, in (0, 1], from which the network's own scales are computed.
        sampler: Name of the default sampler.
        steps: Default number of sampling steps.
        conditioning_dropout: Share of training examples whose mel was withheld; 0 means that guidance is not possible.
    """

    title: ClassVar[str] = "DiffWave U-Net"

    sample_rate: SamplingRateHz
    n_mels: Count
    n_fft: SampleCount
    hop_samples: Count
    channels: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=6)]
    blocks: Annotated[int, Meta(ge=1, le=8)]
    group_channels: Count
    attention_heads: Count
    attention_reach_frames: Annotated[int, Meta(ge=0, le=64)]
    conditioner_channels: Count
    embedding_channels: Count
    noise_schedule: Betas
    audio_rms: Annotated[float, Meta(gt=0, le=1)]
    sampler: str
    steps: Count
    conditioning_dropout: Annotated[float, Meta(ge=0, lt=1)]

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        require(
            self.hop_samples == STRIDE ** len(self.channels),
            f"hop_samples must be {STRIDE} to the power of the number of resolutions, {len(self.channels)}",
            self.hop_samples,
        )
        for channels in self.channels:
            require(
                channels % self.group_channels == 0,
                f"channels must be multiples of group_channels {self.group_channels}",
                channels,
            )
        require(
            self.channels[-1] % self.attention_heads == 0,
            f"attention_heads must divide the bottleneck's {self.channels[-1]} channels",
            self.attention_heads,
        )
        require(
            self.steps <= len(self.noise_schedule),
            f"steps must be at most those of training, {len(self.noise_schedule)}",
            self.steps,
        )

    @property
    def context_samples(self) -> int:
        """Samples before a frame, and after it, that one evaluation of the network writes to or reads from.

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
        """`context_samples` in whole mel frames, rounded up."""
        return math.ceil(self.context_samples / self.hop_samples)

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on; see `diffwave_mel_convention`."""
        return diffwave_mel_convention(self.sample_rate, self.n_fft, self.hop_samples, self.n_mels)
