"""The configuration of a Vocos, validated, and what can be computed from it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    require_mel,
    trainer_convention,
)
from voirs_vocoder.runtime.dsp import hann_window
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["KERNEL", "VocosConfig"]

KERNEL = 7
"""Kernel size of the first convolution and of the depthwise ones, in frames."""

# Making more takes seconds before any weight is compared.
_MAX_LAYERS = 64


class VocosConfig(ModelConfig, frozen=True, kw_only=True):
    """A Vocos network and the mel spectrogram that it was trained on.

    Attributes:
        n_mels: Number of mel bands.
        dim: Channels between blocks.
        intermediate_dim: Channels within a block.
        num_layers: Number of blocks.
        n_fft: Size of the inverse Fourier transform and length of its Hann window, in samples, even.
        hop_length: Audio samples between mel frames, at most half of `n_fft`.
        sampling_rate: Sampling rate in Hz.
        padding: Which samples of the overlapping windows are the audio. `center`: those from the middle of the first
            window on, so that the last frame is centered on the sample after the official audio. `same`: all but
            (n_fft - hop_length) / 2 at both ends.
        f_min: Lower edge of the mel filters, in Hz.
        f_max: Upper edge of the mel filters, in Hz; None means half the sampling rate.
        mel: Convention of the mel that the network was trained on; None follows from the other keys.
    """

    title: ClassVar[str] = "Vocos"

    n_mels: Count
    dim: Count
    intermediate_dim: Annotated[int, Meta(ge=1, le=1 << 14)]
    num_layers: Annotated[int, Meta(ge=1, le=_MAX_LAYERS)]
    n_fft: SampleCount
    hop_length: SampleCount
    sampling_rate: SamplingRateHz
    padding: Literal["center", "same"]
    f_min: FrequencyHz = 0.0
    f_max: FrequencyHz | None = None
    mel: MelConvention | None = None

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        require(self.n_fft % 2 == 0, "n_fft must be even", self.n_fft)
        require(
            2 * self.hop_length <= self.n_fft,
            f"hop_length must be at most half of n_fft {self.n_fft}, so that windows overlap everywhere",
            self.hop_length,
        )
        require(
            self.padding == "center" or self.hop_length % 2 == 0,
            "hop_length must be even with padding 'same'",
            self.hop_length,
        )
        nyquist_hz = self.sampling_rate / 2
        require(
            self.f_min < self.f_max_hz <= nyquist_hz,
            f"0 <= f_min < f_max <= nyquist {nyquist_hz:g} Hz",
            [self.f_min, self.f_max_hz],
        )
        require_mel(self, "n_mels", "hop_length", "sampling_rate")

    @property
    def f_max_hz(self) -> float:
        """Upper edge of the mel filters, in Hz."""
        return self.sampling_rate / 2 if self.f_max is None else self.f_max

    @property
    def variant(self) -> str:
        """`mel-24khz`, or `custom`."""
        published = (100, 512, 1536, 8, 1024, 256, 24000, "center")
        own = (
            self.n_mels,
            self.dim,
            self.intermediate_dim,
            self.num_layers,
            self.n_fft,
            self.hop_length,
            self.sampling_rate,
            self.padding,
        )
        return "mel-24khz" if own == published else "custom"

    @property
    def first_sample(self) -> int:
        """Sample of the first window that is the first one of the audio."""
        return self.n_fft // 2 if self.padding == "center" else (self.n_fft - self.hop_length) // 2

    @property
    def window(self) -> NDArray[np.float64]:
        """The periodic Hann window of the inverse Fourier transform, float64 [n_fft]."""
        return hann_window(self.n_fft, self.n_fft)

    @property
    def least_envelope(self) -> float:
        """Least sum of squared windows over the samples of the official audio, of any number of frames."""
        squared = self.window**2
        least = math.inf
        # More frames than overlap at one sample add nothing new.
        most = -(-self.n_fft // self.hop_length) + 1
        for frames in range(1, most + 1):
            envelope = np.zeros((frames - 1) * self.hop_length + self.n_fft)
            for frame in range(frames):
                envelope[frame * self.hop_length : frame * self.hop_length + self.n_fft] += squared
            official = frames - 1 if self.padding == "center" else frames
            kept = envelope[self.first_sample : self.first_sample + official * self.hop_length]
            least = min(least, float(kept.min(initial=math.inf)))
        return least

    @property
    def look_ahead_samples(self) -> int:
        """Future audio samples that an output sample depends on, before rounding to frames.

        Every convolution of the backbone reaches (KERNEL - 1) / 2 frames ahead, the windows `first_sample` samples. The
        window's first sample is 0.
        """
        return self._backbone_frames * self.hop_length + self.first_sample - 1

    @property
    def context_samples(self) -> int:
        """Past audio samples that an output sample depends on, before rounding to frames."""
        return (self._backbone_frames - 1) * self.hop_length + self.n_fft - self.first_sample

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up."""
        return math.ceil(self.look_ahead_samples / self.hop_length)

    @property
    def context_frames(self) -> int:
        """`context_samples` in whole mel frames, rounded up."""
        return math.ceil(self.context_samples / self.hop_length)

    @property
    def _backbone_frames(self) -> int:
        return (self.num_layers + 1) * (KERNEL // 2)

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on; `mel` where it is given.

        Source: vocos 0.1.0, feature_extractors.MelSpectrogramFeatures.
        """
        if self.mel is not None:
            return self.mel
        return trainer_convention(
            "vocos-24k",
            "vocos",
            sample_rate=self.sampling_rate,
            n_fft=self.n_fft,
            win_length=self.n_fft,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            f_min_hz=self.f_min,
            f_max_hz=self.f_max_hz,
            framing="centered" if self.padding == "center" else "hop-aligned",
        )
