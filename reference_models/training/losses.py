"""Losses that several families share, and the likelihood of a flow. All in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from voirs_vocoder.reference_models.waveglow.model import FlowOutput

__all__ = ["flow_negative_log_likelihood", "stft_log_magnitude_l1", "stft_loss"]

# Keeps the root's gradient finite.
_LEAST_POWER = 1e-8
_LEAST_MAGNITUDE = 1e-3


def flow_negative_log_likelihood(output: FlowOutput, sigma: float) -> Tensor:
    """Negative log-likelihood of audio under a flow, in nats per sample.

    R. Prenger et al., WaveGlow, arXiv 1811.00002, equation 7, with the constant that it leaves out:
    (sum z^2 / (2 sigma^2) - sum log s - sum log |det W|) / n + log sigma + log(2 pi) / 2.

    Args:
        output: Of the forward direction.
        sigma: Standard deviation of the prior.
    """
    energy = output.z.float().square().sum() / (2.0 * sigma * sigma)
    log_scales = torch.stack([log_s.float().sum() for log_s in output.log_s]).sum()
    log_determinants = torch.stack([value.float() for value in output.log_determinants]).sum()
    per_sample = (energy - log_scales - log_determinants) / output.z.numel()
    return per_sample + math.log(sigma) + 0.5 * math.log(2.0 * math.pi)


def stft_log_magnitude_l1(reference: Tensor, estimate: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean |ln |R| - ln |E|| of each example, mean over FFT sizes, hop a quarter.

    R. Yamamoto et al., Parallel WaveGAN, arXiv 1910.11480, equation 5; 1e-3 is added to the magnitudes, so that noise
    far below speech does not count.

    Args:
        reference: [batch, samples].
        estimate: The same shape.
        sizes: FFT sizes.

    Returns:
        [batch].
    """
    distances = []
    for n_fft in sizes:
        clean, other = (torch.log(_magnitude(x, n_fft) + _LEAST_MAGNITUDE) for x in (reference, estimate))
        distances.append((clean - other).abs().mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)


def stft_loss(reference: Tensor, estimate: Tensor, sizes: Sequence[int]) -> Tensor:
    """Multi-resolution STFT loss: spectral convergence plus mean |ln |R| - ln |E||, hop a quarter.

    R. Yamamoto et al., Parallel WaveGAN, arXiv 1910.11480, equations 3 to 6.

    Args:
        reference: [batch, samples].
        estimate: The same shape.
        sizes: FFT sizes.

    Returns:
        A scalar.
    """
    terms = []
    for n_fft in sizes:
        clean, other = _magnitude(reference, n_fft), _magnitude(estimate, n_fft)
        convergence = torch.linalg.vector_norm(clean - other) / torch.linalg.vector_norm(clean)
        terms.append(convergence + (torch.log(clean) - torch.log(other)).abs().mean())
    return torch.stack(terms).mean()


def _magnitude(x: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.stft(x.float(), n_fft, n_fft // 4, n_fft, window, return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2).clamp(min=_LEAST_POWER).sqrt()
