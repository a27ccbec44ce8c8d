"""What gives a diffusion network input and output of unit variance at every noise level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["unit_variance_scales"]


def unit_variance_scales(betas: Sequence[float], audio_rms: float) -> Tensor:
    """Of input, of what passes by, and of output, at each step of a schedule.

    T. Karras et al., arXiv 2206.00364, table 1 and appendix B.6, for a network that predicts noise. With a² the
    cumulative alpha, s² = 1 - a² and d the RMS of the audio, the noisy audio has the variance v = a² d² + s². The
    network takes x / sqrt(v) and gives F; the noise is x s / v - F a d / sqrt(v).

    Args:
        betas: Of the schedule.
        audio_rms: About that of the audio.

    Returns:
        Float32 [steps, 3].
    """
    cumulative = np.cumprod(1.0 - np.array(betas, np.float64))
    noise = np.sqrt(1.0 - cumulative)
    variance = cumulative * audio_rms**2 + noise**2
    columns = (
        1.0 / np.sqrt(variance),
        noise / variance,
        np.sqrt(cumulative) * audio_rms / np.sqrt(variance),
    )
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
