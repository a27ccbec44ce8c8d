"""Spectrograms, difference spectrograms, the worst moment and the histogram of errors, as data for the page."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import centered_power
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.optional import import_optional

__all__ = [
    "DIFFERENCE_DB",
    "SPECTROGRAM_DB",
    "decibels",
    "difference_png",
    "error_histogram",
    "palette_hex",
    "require_drawing",
    "spectrogram_png",
    "worst_moment",
]

SPECTROGRAM_DB = (-90.0, 0.0)
"""From black to the brightest, relative to a full-scale sine."""
DIFFERENCE_DB = (-30.0, 30.0)
"""From softer to louder than the reference; beneath `SPECTROGRAM_DB` both count as equal."""

_N_FFT = 1024
_COLUMNS = 640
_ROWS = 192
_LEVELS = 64
_WINDOW_MS = 20.0
_BINS = 41


def decibels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """A power spectrogram, shrunk for the screen.

    Args:
        samples: Float32 [samples].

    Returns:
        Float64 [rows, columns], low frequencies first, dB relative to a full-scale sine, not below `SPECTROGRAM_DB`.
    """
    least = _N_FFT // 2 + 1
    padded = np.pad(samples, (0, max(0, least - samples.size)))
    hop = max(1, padded.size // _COLUMNS)
    power = np.concatenate(list(centered_power(padded, _N_FFT, _N_FFT, hop)))[:_COLUMNS]
    # A full-scale sine under a Hann window peaks at n_fft / 4.
    power /= (_N_FFT / 4.0) ** 2
    edges = np.linspace(0, power.shape[1], _ROWS + 1).astype(int)
    rows = np.maximum.reduceat(power, edges[:-1], axis=1).T
    return np.maximum(10.0 * np.log10(np.maximum(rows, 1e-12)), SPECTROGRAM_DB[0])


def require_drawing() -> None:
    """Check, before long work, that pictures can be drawn.

    Raises:
        InputError: matplotlib, or Pillow which it draws with, is not installed.
    """
    for module in ("matplotlib", "PIL.Image"):
        _drawing(module)


def spectrogram_png(level_db: NDArray[np.float64]) -> bytes:
    """What `decibels` gives, as a picture with low frequencies at the bottom."""
    return _png(level_db, SPECTROGRAM_DB, "magma")


def difference_png(level_db: NDArray[np.float64], reference_db: NDArray[np.float64]) -> bytes:
    """How much louder (red) or softer (blue) each place is than in the reference."""
    return _png(level_db - reference_db, DIFFERENCE_DB, "RdBu_r")


def palette_hex(kind: str, count: int = 9) -> list[str]:
    """Colors from one end of a scale to the other, for its legend: `spectrogram` or `difference`."""
    colours = _palette({"spectrogram": "magma", "difference": "RdBu_r"}[kind])
    places = np.linspace(0, _LEVELS - 1, count).astype(int)
    return ["#" + bytes(colours[place]).hex() for place in places]


def worst_moment(
    reference: NDArray[np.float32], samples: NDArray[np.float32], sample_rate: int
) -> tuple[int, int]:
    """Start and length in samples of the 20 ms whose error has the most energy."""
    length = max(2, min(reference.size, round(_WINDOW_MS * sample_rate / 1000)))
    energy = np.cumsum(np.pad((samples - reference).astype(np.float64) ** 2, (1, 0)))
    return int(np.argmax(energy[length:] - energy[:-length])), length


def error_histogram(reference: NDArray[np.float32], samples: NDArray[np.float32]) -> tuple[float, list[int]]:
    """The largest error, and how many samples err by how much: 41 equal bins from its negative to itself."""
    error = samples - reference
    largest = float(np.max(np.abs(error), initial=0.0))
    span = largest or 1.0
    counts, _ = np.histogram(error, bins=_BINS, range=(-span, span))
    return largest, [int(count) for count in counts]


def _png(values: NDArray[np.float64], limits: tuple[float, float], colours: str) -> bytes:
    low, high = limits
    levels = np.clip((values - low) / (high - low) * (_LEVELS - 1), 0, _LEVELS - 1).round().astype(np.uint8)
    image = _drawing("PIL.Image").fromarray(np.flipud(levels), mode="P")
    image.putpalette(_palette(colours).tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True, bits=6)
    return stream.getvalue()


@lru_cache
def _palette(name: str) -> NDArray[np.uint8]:
    """[levels, 3]."""
    colours: NDArray[np.uint8] = _drawing("matplotlib").colormaps[name](
        np.linspace(0, 1, _LEVELS), bytes=True
    )[:, :3]
    return colours


def _drawing(module: str) -> Any:
    return import_optional(
        module, purpose="the report page", package="matplotlib", extra="eval", error=InputError
    )
