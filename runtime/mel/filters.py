"""The triangular filters that make a mel spectrum of an FFT's, computed from a convention's parameters alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["mel_filters"]


@lru_cache(maxsize=8)
def mel_filters(convention: MelConvention) -> NDArray[np.float64]:
    """Triangular mel filters, float64 [n_mels, n_fft / 2 + 1], read-only.

    Slaney's scale is linear to 1 kHz and logarithmic above (M. Slaney, Auditory Toolbox, Technical Report 1998-010);
    HTK's is 2595 log10(1 + f / 700) (The HTK Book, 5.4).
    """
    limits = np.array([convention.f_min_hz, convention.f_max_hz])
    if convention.mel_scale == "htk":
        low, high = 2595.0 * np.log10(1.0 + limits / 700.0)
        edges_hz = 700.0 * (10.0 ** (np.linspace(low, high, convention.n_mels + 2) / 2595.0) - 1.0)
    else:
        step = np.log(6.4) / 27.0
        with np.errstate(divide="ignore"):
            above = 15.0 + np.log(limits / 1000.0) / step
        low, high = np.where(limits < 1000.0, limits * 3.0 / 200.0, above)
        mels = np.linspace(low, high, convention.n_mels + 2)
        edges_hz = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * np.exp(step * (mels - 15.0)))
    bins_hz = np.arange(convention.n_fft // 2 + 1) * (convention.sample_rate / convention.n_fft)
    left, center, right = (edges_hz[i : i + convention.n_mels, np.newaxis] for i in range(3))
    rising = (bins_hz - left) / (center - left)
    falling = (right - bins_hz) / (right - center)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if convention.mel_norm == "slaney":
        filters *= 2.0 / (right - left)
    filters.setflags(write=False)
    return filters
