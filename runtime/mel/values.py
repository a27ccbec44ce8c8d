"""The rules for the values of a mel spectrogram, stated once for arrays, files and the API."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.compression import compressed, least_value, nepers_per_unit
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = [
    "MelRangeWarning",
    "MelSpectrogram",
    "RangeWatch",
    "check_chunk",
    "check_finite",
    "check_layout",
    "check_mel",
    "range_hint",
    "require_convention",
]

# Natural-log mels of speech lie between ln(floor) and 2; the slack is for acoustic models, which overshoot.
_LOUDEST_LN = 2.0
_LN_MAX = 2.5
# Filters of unit height give more than those of unit area.
_WIDE_FILTERS_LN = 4.0
_LOG10_MAX = 1.2
_SLACK = 1.0
# Natural logarithm of the smallest floor that a trainer uses, 1e-10, and the slack.
_LN_LEAST = -24.1
# Decimal logarithm of the usual floor, 1e-5.
_LOG10_LEAST = -5.01
_SYMMETRIC = 4.1
_UNIT = "a mel scaled to [0, 1], such as lmnt DiffWave's"
_LINEAR = "linear magnitudes or another scale"
# Fewer frames than these may, by chance, hold no quiet band at all.
_LOG10_MIN_FRAMES = 50


@dataclass(frozen=True, eq=False)
class MelSpectrogram:
    """A mel spectrogram and the convention in which it was computed.

    Attributes:
        values: Finite float32 [n_mels, frames]; [1, n_mels, frames] is accepted and squeezed.
        convention: Convention in which the values were computed.

    Raises:
        InputError: The values break a rule of `check_mel`.
    """

    values: NDArray[np.float32]
    convention: MelConvention

    def __post_init__(self) -> None:
        """Check the values against the convention."""
        object.__setattr__(self, "values", check_mel(self.values, self.convention))


def check_layout(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], convention: MelConvention, where: str
) -> int:
    """Check shape and element type of a mel.

    Args:
        shape: Shape of the array: [n_mels, frames] or [1, n_mels, frames].
        dtype: Element type of the array, which must be float32.
        convention: Convention of the values.
        where: Beginning of error messages, such as the path of a file.

    Returns:
        Number of frames.

    Raises:
        InputError: The array has another type or shape, or no frames.
    """
    if dtype.hasobject:
        raise InputError(
            f"{where}: mel values must be float32, got {dtype}: Python objects, such as a dict or a list of arrays; "
            "give the array of one mel itself"
        )
    if dtype != np.float32:
        raise InputError(
            f"{where}: mel values must be float32, got {dtype}; convert with .astype(np.float32)"
        )
    bands = convention.n_mels
    layout = f"[{bands}, frames] or [1, {bands}, frames]"
    inner = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(inner) != 2:
        raise InputError(f"{where}: a mel must be {layout}, got shape {shape}; give one utterance at a time")
    if inner[0] != bands and inner[1] == bands:
        raise InputError(f"{where}: a mel must be {layout}, got shape {shape}, frames first; transpose it")
    if inner[0] != bands:
        raise InputError(
            f"{where}: convention {convention.id!r} has {bands} mel bands, got shape {shape}; "
            "compute the mel in that convention"
        )
    if inner[1] < 1:
        raise InputError(f"{where}: a mel must have at least one frame, got shape {shape}; give more audio")
    return inner[1]


def check_finite(values: NDArray[np.float32], where: str, first_frame: int = 0) -> None:
    """Refuse NaN and infinity in a mel.

    Args:
        values: Float32 [n_mels, frames].
        where: Beginning of the error message, such as the path of a file.
        first_frame: Position of the first frame in the whole mel, for the error message.

    Raises:
        InputError: A value is NaN or infinite; the message names the first frame with one.
    """
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        frame = first_frame + int(np.argmax(bad))
        raise InputError(
            f"{where}: mel values must be finite, got NaN or infinity in frame {frame}; fix the mel"
        )


def check_mel(values: object, convention: MelConvention, where: str = "mel") -> NDArray[np.float32]:
    """Check a mel against its convention.

    Args:
        values: A numpy array, float32 [n_mels, frames] or [1, n_mels, frames].
        convention: Convention of the values.
        where: Beginning of error messages, such as the path of a file.

    Returns:
        A view [n_mels, frames] of the values.

    Raises:
        InputError: The values are no float32 numpy array, have another shape or no frames, or are not finite.
    """
    if not isinstance(values, np.ndarray):
        raise InputError(
            f"{where}: a mel must be a numpy array, got {type(values).__name__}; convert it, as with .numpy()"
        )
    frames = check_layout(values.shape, values.dtype, convention, where)
    mel: NDArray[np.float32] = values.reshape(convention.n_mels, frames)
    check_finite(mel, where)
    return mel


def check_chunk(chunk: object, convention: MelConvention) -> NDArray[np.float32]:
    """Check a piece of a mel, which may have no frames.

    Args:
        chunk: A `MelSpectrogram`, or an array as in `check_mel`.
        convention: Convention that the model takes.

    Returns:
        A view [n_mels, frames] of the values.

    Raises:
        InputError: The chunk states another convention, or its values are no float32 numpy array, have another shape or
            are not finite.
    """
    if isinstance(chunk, MelSpectrogram):
        require_convention(chunk.convention, convention)
        return chunk.values
    if isinstance(chunk, np.ndarray) and chunk.size == 0 and chunk.shape[-2:] == (convention.n_mels, 0):
        return np.empty((convention.n_mels, 0), np.float32)
    return check_mel(chunk, convention, "mel chunk")


def require_convention(convention: MelConvention, expected: MelConvention) -> None:
    """Refuse a mel of another convention than expected.

    Raises:
        InputError: The conventions differ.
    """
    if convention != expected:
        raise InputError(
            f"the model takes mel convention {expected.id!r}, got {convention.id!r}; compute the mel with "
            f"mel_spectrogram(audio, sample_rate, convention=vocoder.metadata.convention)"
        )


def range_hint(values: NDArray[np.float32], convention: MelConvention) -> str | None:
    """Warn when the range of the values looks like another convention.

    Natural-log mels lie in [ln(floor), about 2], linear magnitudes above 0; lmnt DiffWave mels in [0, 1]; symmetric
    Tacotron mels in [-4, 4]; log10 mels of speech stop at -5, the natural ones of nearly all speech go below.

    Args:
        values: Float32 [n_mels, frames], finite.
        convention: Convention in which the values should be.

    Returns:
        A message of one line; None when the range is that of the convention.
    """
    low, high = float(values.min()), float(values.max())
    lowest, highest = _expected_range(convention)
    bounded = convention.limits is not None or convention.compression == "db-unit"
    plain = (convention.scale, convention.offset, convention.spectrum) == (1.0, 0.0, "magnitude")
    long_enough = values.shape[1] >= _LOG10_MIN_FRAMES
    if bounded:
        guess = _bounded_guess(low, high, lowest, highest)
    elif not plain:
        slack = _SLACK / nepers_per_unit(convention)
        guess = None if lowest - slack <= low and high <= highest + slack else "another scale"
    elif convention.compression == "ln":
        guess = _ln_guess(low, high, lowest, convention, long_enough=long_enough)
    else:
        guess = _log10_guess(low, high, lowest)
    if guess is None:
        return None
    return (
        f"mel values lie in [{low:.2f}, {high:.2f}], convention {convention.id!r} gives [{_short(lowest)}, "
        f"{_short(highest)}]; this looks like {guess}; if the audio is noise, compute the mel in that convention"
    )


def _has_wide_filters(convention: MelConvention) -> bool:
    """Whether magnitudes are not divided by the widths of the filters, which are tens to hundreds of Hz."""
    return convention.mel_norm == "none" and not convention.window_energy_normalized


def _expected_range(convention: MelConvention) -> tuple[float, float]:
    nepers = _LOUDEST_LN + (_WIDE_FILTERS_LN if _has_wide_filters(convention) else 0.0)
    nepers *= 1.0 if convention.spectrum == "magnitude" else 2.0
    if convention.limits is not None:
        highest = convention.limits[1]
    elif convention.compression == "db-unit":
        highest = 1.0
    else:
        highest = float(compressed(math.exp(nepers), convention))
    return least_value(convention), highest


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _bounded_guess(low: float, high: float, lowest: float, highest: float) -> str | None:
    slack = 0.01 * (highest - lowest)
    if low >= lowest - slack and high <= highest + slack:
        return None
    return "a natural-log mel, such as HiFi-GAN's" if low < lowest - 1 else "another scale"


def _ln_guess(
    low: float, high: float, lowest: float, convention: MelConvention, *, long_enough: bool
) -> str | None:
    wide = _has_wide_filters(convention)
    if low < lowest - _SLACK:
        return "decibels or another floor"
    if low >= 0 and high <= 1:
        return _UNIT
    if low >= 0 or high > _SYMMETRIC + (_WIDE_FILTERS_LN if wide else 0.0):
        return _LINEAR
    if high > _LN_MAX and low >= -_SYMMETRIC:
        return "a symmetric Tacotron mel, in [-4, 4]"
    if low >= _LOG10_LEAST and long_enough and not wide:
        return "a log10 mel"
    return None


def _log10_guess(low: float, high: float, lowest: float) -> str | None:
    if low < lowest - _SLACK:
        return "a natural-log mel" if low > _LN_LEAST else "decibels or another floor"
    if low >= 0 and high <= 1:
        return _UNIT
    if low >= 0 or high > _SYMMETRIC:
        return _LINEAR
    if high > _LOG10_MAX:
        return "a symmetric Tacotron mel, in [-4, 4]" if low >= -_SYMMETRIC else "a natural-log mel"
    return None


class MelRangeWarning(UserWarning):
    """The range of a mel's values suggests another convention than the model's."""


class RangeWatch:
    """Range of a mel that comes in pieces, for `range_hint`, which depends on range and length only.

    Attributes:
        convention: Convention in which the values should be.
    """

    def __init__(self, convention: MelConvention) -> None:
        """Begin a mel.

        Args:
            convention: Convention in which the values should be.
        """
        self.convention = convention
        self._low, self._high = np.inf, -np.inf
        self._frames = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take note of the next float32 [n_mels, frames], of which there may be none."""
        if values.size:
            self._low = min(self._low, float(values.min()))
            self._high = max(self._high, float(values.max()))
            self._frames += values.shape[1]

    def hint(self) -> str | None:
        """The message of `range_hint` about everything so far; None where nothing came, or the range is right."""
        if not self._frames:
            return None
        extremes = np.array([[self._low], [self._high]], np.float32)
        return range_hint(np.broadcast_to(extremes, (2, self._frames)), self.convention)
