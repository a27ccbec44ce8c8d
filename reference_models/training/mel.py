"""Mel spectrograms in torch, with gradients, equal to `voirs_vocoder.runtime.mel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voirs_vocoder.runtime.dsp import hann_window
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.transform import mel_filters

__all__ = ["TorchMel", "mel_padding"]

# Keeps the root's gradient finite where the convention adds nothing of its own.
_LEAST_POWER = 1e-12


def mel_padding(convention: MelConvention) -> int:
    """Samples that frame 0 reaches before the recording."""
    hop_aligned = convention.framing == "hop-aligned"
    return (convention.n_fft - (convention.hop_length if hop_aligned else 0)) // 2


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
        window = hann_window(convention.win_length, convention.n_fft)
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
        magnitude = power.clamp(min=_LEAST_POWER).sqrt() * self._scale
        mel = (self.filters @ magnitude).clamp(min=convention.floor)
        if convention.compression == "ln":
            return torch.log(mel)
        return ((20.0 * torch.log10(mel) - 20.0 + 100.0) / 100.0).clamp(0.0, 1.0)
