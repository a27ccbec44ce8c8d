"""The inverse direction of WaveGlow as it is exported: noise and mel to audio."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from voirs_vocoder.reference_models.waveglow.config import UPSAMPLE_KERNEL, UPSAMPLE_STRIDE
from voirs_vocoder.reference_models.waveglow.model import Coupling, Invertible1x1, WaveGlow, inverse_flows

__all__ = ["WaveGlowSynthesis"]

_TAPS = UPSAMPLE_KERNEL // UPSAMPLE_STRIDE


class WaveGlowSynthesis(nn.Module):
    """The inverse flow: noise to audio. Made from a trained model, whose weights it shares."""

    def __init__(self, model: WaveGlow) -> None:
        super().__init__()
        self.config = model.config
        self.upsample = _polyphase(model.upsample)
        self.flows = nn.ModuleList(_InverseFlow(convinv, coupling) for convinv, coupling in model.flows())

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Noise to audio.

        Args:
            mel: [batch, n_mel_channels, frames], in the convention of the model.
            noise: [batch, n_group, frames * hop_length / n_group], scaled by sigma, early outputs first.

        Returns:
            Audio [batch, 1, frames * hop_length].
        """
        config = self.config
        phases = self.upsample(functional.pad(mel, (_TAPS - 1, 0)))
        batch, groups = mel.shape[0], UPSAMPLE_STRIDE // config.flow.n_group
        # [batch, bands, group in frame, place in group, frame] to channels as `grouped_mel` numbers them.
        split = phases.reshape(batch, config.flow.n_mel_channels, groups, config.flow.n_group, -1)
        conditioning = split.permute(0, 1, 3, 4, 2).reshape(
            batch, config.flow.n_mel_channels * config.flow.n_group, -1
        )
        audio = inverse_flows(config, noise, lambda flow, x: self.flows[flow](x, conditioning))
        return audio.unsqueeze(1)


class _InverseFlow(nn.Module):
    """One flow backwards."""

    def __init__(self, convinv: Invertible1x1, coupling: Coupling) -> None:
        super().__init__()
        self.coupling = coupling
        parameters = coupling.cond_layer.state_dict()
        layers = len(coupling.in_layers)
        weights, biases = parameters["weight"].chunk(layers), parameters["bias"].chunk(layers)
        # One convolution for all layers would hold their conditions in memory at once.
        self.cond_layers = nn.ModuleList(map(_convolution, weights, biases))
        self.mix = _convolution(convinv.inverse_matrix().float().unsqueeze(-1), None)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        b, log_s = self.coupling.gated(kept, (layer(mel) for layer in self.cond_layers))
        mixed: Tensor = self.mix(torch.cat((kept, (changed - b) * torch.exp(-log_s)), dim=1))
        return mixed


def _polyphase(upsample: nn.ConvTranspose1d) -> nn.Conv1d:
    """The upsampling as a convolution at the frame rate, one channel per band and sample of a frame.

    A transposed convolution would hold the product of all its taps in memory, four times what comes out of it. What the
    last frame rings on for beyond its hop, which inference drops, is not computed.
    """
    bands, _, _ = upsample.weight.shape
    # [in, out, tap, phase] to [out, phase, in, tap], the newest frame last.
    weight = (
        upsample.weight.detach().reshape(bands, bands, _TAPS, UPSAMPLE_STRIDE).permute(1, 3, 0, 2).flip(3)
    )
    bias = upsample.state_dict()["bias"].repeat_interleave(UPSAMPLE_STRIDE)
    return _convolution(weight.reshape(bands * UPSAMPLE_STRIDE, bands, _TAPS), bias)


def _convolution(weight: Tensor, bias: Tensor | None) -> nn.Conv1d:
    """An unpadded convolution with these weights, [out, in, kernel]."""
    conv = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], bias=bias is not None)
    conv.weight = nn.Parameter(weight.clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone())
    return conv
