"""Short-time Fourier transforms in numpy, and filters of scipy, which only this module of the runtime imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["butterworth", "centered_power", "frame_power", "hann_window", "scipy_signal"]

_BLOCK_FRAMES = 256


def scipy_signal() -> Any:
    """Import `scipy.signal`.

    Raises:
        InputError: scipy is not installed.
    """
    return import_optional("scipy.signal", purpose="filtering", extra="dsp", error=InputError)


def butterworth(kind: str, frequency_hz: float, order: int, sample_rate: int) -> NDArray[np.float64]:
    """Design a Butterworth filter with `scipy.signal.butter`.

    Args:
        kind: `lowpass` or `highpass`.
        frequency_hz: Cutoff frequency in Hz.
        order: Order of the filter.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        Second-order sections, float64 [sections, 6].

    Raises:
        InputError: scipy is not installed.
    """
    sections: NDArray[np.float64] = scipy_signal().butter(
        order, frequency_hz, kind, fs=sample_rate, output="sos"
    )
    return sections


def hann_window(win_length: int, n_fft: int, *, symmetric: bool = False) -> NDArray[np.float64]:
    """A Hann window of `win_length` samples, centered between zeros: [n_fft].

    Args:
        win_length: Length of the window in samples.
        n_fft: Length of the result in samples.
        symmetric: True makes first and last samples 0; False makes the window periodic.
    """
    window = np.zeros(n_fft)
    left = (n_fft - win_length) // 2
    # A window of one sample is 1 in both forms.
    period = max(1, win_length - 1) if symmetric else win_length
    cosine = np.cos(2 * np.pi * np.arange(win_length) / period) if win_length > 1 else -np.ones(1)
    window[left : left + win_length] = 0.5 - 0.5 * cosine
    return window


def frame_power(
    samples: NDArray[np.floating[Any]], window: NDArray[np.float64], hop_length: int
) -> NDArray[np.float64]:
    """Squared STFT magnitudes of every whole frame, without padding.

    Args:
        samples: Signal [samples], at least as long as the window.
        window: Window [n_fft].
        hop_length: Samples between the starts of frames.

    Returns:
        Float64 [frames, n_fft / 2 + 1].
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop_length]
    spectrum = np.fft.rfft(frames * window, axis=-1)
    return spectrum.real**2 + spectrum.imag**2


def centered_power(
    samples: NDArray[np.floating[Any]], n_fft: int, win_length: int, hop_length: int
) -> Iterator[NDArray[np.float64]]:
    """Squared magnitudes of frames centered on every hop, with reflection at both ends, as torch.stft pads.

    Args:
        samples: Signal [samples], longer than n_fft / 2.
        n_fft: FFT size in samples.
        win_length: Length of the Hann window in samples.
        hop_length: Samples between the centers of frames.

    Yields:
        Float64 [frames, n_fft / 2 + 1], a bounded number of frames at a time.
    """
    padded = np.pad(samples, n_fft // 2, mode="reflect")
    window = hann_window(win_length, n_fft)
    step = _BLOCK_FRAMES * hop_length
    for start in range(0, len(padded) - n_fft + 1, step):
        yield frame_power(padded[start : start + step - hop_length + n_fft], window, hop_length)
