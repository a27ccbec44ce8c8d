"""Losses that several families share, computed in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["stft_log_magnitude_l1", "stft_loss"]

# Keeps the root's gradient finite.
_LEAST_POWER = 1e-8
_LEAST_MAGNITUDE = 1e-3


def stft_log_magnitude_l1(reference: Tensor, estimate: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean |ln |R| - ln |E|| of each example, mean over FFT sizes, hop a quarter.

    R. Yamamoto et al., Parallel WaveGAN, arXiv 1910.11480, equation 5; 1e-3 is added to the magnitudes, so that noise
    far below speech does not count.

    Args:
        reference: [batch, samples].
        estimate: [batch, samples], as long as `reference`.
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
        estimate: [batch, samples], as long as `reference`.
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
