"""The rules for the values of a mel spectrogram, stated once for arrays, files and the API."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError
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
_LN_MAX = 2.5
_SLACK = 1.0
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
    Tacotron mels in [-4, 4]; log10 mels of speech stop at log10(floor), the natural ones of nearly all speech go below.

    Args:
        values: Float32 [n_mels, frames], finite.
        convention: Convention in which the values should be.

    Returns:
        A message of one line; None when the range is that of the convention.
    """
    low, high = float(values.min()), float(values.max())
    if convention.compression == "db-unit":
        if low >= -0.01 and high <= 1.01:
            return None
        expected = "[0, 1]"
        guess = "a natural-log mel, such as HiFi-GAN's" if low < -1 else "another scale"
    else:
        lowest = float(np.log(convention.floor))
        expected = f"[{lowest:.1f}, 2]"
        if low < lowest - _SLACK:
            guess = "decibels or another floor"
        elif low >= 0 and high <= 1:
            guess = "a mel scaled to [0, 1], such as lmnt DiffWave's"
        elif low >= 0 or high > 4.1:
            guess = "linear magnitudes or another scale"
        elif high > _LN_MAX and low >= -4.1:
            guess = "a symmetric Tacotron mel, in [-4, 4]"
        elif low >= np.log10(convention.floor) - 0.01 and values.shape[1] >= _LOG10_MIN_FRAMES:
            guess = "a log10 mel"
        else:
            return None
    return (
        f"mel values lie in [{low:.2f}, {high:.2f}], convention {convention.id!r} gives {expected}; this looks like "
        f"{guess}; if the audio is noise, compute the mel in that convention"
    )


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
