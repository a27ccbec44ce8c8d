"""The two adversaries of HiFi-GAN's training: over periods of the waveform and over its spectra.

Kong et al., HiFi-GAN, arXiv 2010.05646, section 2.3, describes the period discriminators; spectra take the place of its
pooled waveforms as in W. Jang et al., UnivNet, arXiv 2106.07889, section 2.2. Both are small: 2.8 M parameters.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed

__all__ = ["Discriminators", "Verdict"]

_PERIODS = (2, 3, 5, 7, 11)
_PERIOD_CHANNELS = (1, 16, 64, 128, 256)
_STFT_SIZES = (512, 1024, 2048)
_STFT_CHANNELS = 16
_SLOPE = 0.1

Verdict = tuple[Tensor, list[Tensor]]
"""Scores of places, any shape, and the activations on the way to them."""


class _PeriodDiscriminator(nn.Module):
    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        pairs = itertools.pairwise(_PERIOD_CHANNELS)
        last = _PERIOD_CHANNELS[-1]
        self.convs = nn.ModuleList(
            weight_normed(nn.Conv2d(entering, leaving, (5, 1), (3, 1), (2, 0))) for entering, leaving in pairs
        )
        self.convs.append(weight_normed(nn.Conv2d(last, last, (5, 1), padding=(2, 0))))
        self.score = weight_normed(nn.Conv2d(last, 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> Verdict:
        padded = functional.pad(audio, (0, -audio.shape[-1] % self.period), "reflect")
        return _judged(padded.reshape(*padded.shape[:2], -1, self.period), self.convs, self.score)


class _StftDiscriminator(nn.Module):
    window: Tensor

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        strides = ((1, 1), (1, 2), (1, 2), (1, 2), (1, 1))
        entering = (2, *[_STFT_CHANNELS] * (len(strides) - 1))
        self.convs = nn.ModuleList(
            weight_normed(nn.Conv2d(channels, _STFT_CHANNELS, (3, 9), stride, (1, 4)))
            for channels, stride in zip(entering, strides, strict=True)
        )
        self.score = weight_normed(nn.Conv2d(_STFT_CHANNELS, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> Verdict:
        spectrum = torch.stft(
            audio[:, 0].float(), self.n_fft, self.n_fft // 4, self.n_fft, self.window, return_complex=True
        )
        # [batch, real and imaginary, frames, bins]
        return _judged(torch.view_as_real(spectrum).permute(0, 3, 2, 1), self.convs, self.score)


class Discriminators(nn.Module):
    """All of them."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [*map(_PeriodDiscriminator, _PERIODS), *map(_StftDiscriminator, _STFT_SIZES)]
        )

    def forward(self, audio: Tensor) -> list[Verdict]:
        """Judge audio [batch, 1, samples]; a verdict each."""
        return [judge(audio) for judge in self.judges]


def _judged(x: Tensor, convs: nn.ModuleList, score: nn.Module) -> Verdict:
    activations = []
    for conv in convs:
        x = functional.leaky_relu(conv(x), _SLOPE)
        activations.append(x)
    return score(x), activations
