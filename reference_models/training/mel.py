"""Mel spectrograms in torch, with gradients, equal to `voirs_vocoder.runtime.mel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.filters import mel_filters
from voirs_vocoder.runtime.mel.transform import mel_padding, mel_window

__all__ = ["TorchMel", "pad_ends"]

# Keeps the root's gradient finite where the convention adds nothing of its own.
_LEAST_POWER = 1e-12


def pad_ends(audio: Tensor, convention: MelConvention) -> Tensor:
    """Put a convention's padding around audio, [batch, channels, samples]; the reflected ends must be shorter."""
    padding = mel_padding(convention)
    mode = "reflect" if convention.padding == "reflect" else "constant"
    return functional.pad(audio, (padding, padding), mode)


class TorchMel(nn.Module):
    """The mel of audio that already has its surroundings on both sides.

    Attributes:
        convention: What is computed.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, convention: MelConvention) -> None:
        super().__init__()
        self.convention = convention
        window = mel_window(convention)
        self._scale = float((window**2).sum() ** -0.5) if convention.window_energy_normalized else 1.0
        self.register_buffer("window", torch.from_numpy(window).float(), persistent=False)
        filters = torch.from_numpy(mel_filters(convention).copy()).float()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Every whole frame, without padding.

        Args:
            audio: [batch, samples], float32.

        Returns:
            [batch, n_mels, (samples - n_fft) / hop_length + 1].
        """
        convention = self.convention
        n_fft, hop_length = convention.n_fft, convention.hop_length
        spectrum = torch.stft(audio, n_fft, hop_length, n_fft, self.window, center=False, return_complex=True)
        power = spectrum.real**2 + spectrum.imag**2 + convention.magnitude_epsilon
        values = power * self._scale**2
        if convention.spectrum == "magnitude":
            values = power.clamp(min=_LEAST_POWER).sqrt() * self._scale
        return _compressed(self.filters @ values, convention)


def _compressed(magnitudes: Tensor, convention: MelConvention) -> Tensor:
    """`runtime.mel.compression.compressed` in torch."""
    floor = convention.floor
    safe = magnitudes + floor if convention.floor_mode == "add" else magnitudes.clamp(min=floor)
    if convention.compression == "db-unit":
        return ((20.0 * torch.log10(safe) - 20.0 + 100.0) / 100.0).clamp(0.0, 1.0)
    logarithm = torch.log(safe) if convention.compression == "ln" else torch.log10(safe)
    values = convention.scale * logarithm + convention.offset
    return values if convention.limits is None else values.clamp(*convention.limits)
