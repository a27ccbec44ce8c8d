"""Effects on space, stereo width and the direction of a voice; and gain."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import scipy_signal
from voirs_vocoder.runtime.effects.control import Delay
from voirs_vocoder.runtime.effects.effect import Curves, Effect, EffectState, Samples
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Binaural", "Gain", "StereoWidth"]

_SPEED_OF_SOUND_M_S = 343.0
_HEAD_RADIUS_M = 0.0875
_SINC_TAPS = 31
_ALL_PASS_MS = (7.1, 11.3, 17.9)
_ALL_PASS_GAIN = 0.6


class Gain(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A constant gain, which can be automated.

    Attributes:
        gain_db: Gain in dB.
    """

    NAME: ClassVar[str] = "gain"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"gain_db": (-120.0, 40.0)}
    MOVING: ClassVar[tuple[str, ...]] = ("gain_db",)

    gain_db: float = 0.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; any sample rate and any number of channels will do."""
        del sample_rate, channels
        return _Gaining(self.gain_db)


class StereoWidth(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scales the difference of two channels, which can be automated.

    A mono signal becomes two channels whose difference is the signal after three all-pass filters (M. Schroeder,
    Natural sounding artificial reverberation, JAES 10(3), 1962); the mean of the channels is the mono signal exactly.

    Attributes:
        width: Factor of the difference: 0 gives two equal channels, 1 leaves a stereo signal unchanged.
    """

    NAME: ClassVar[str] = "stereo_width"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"width": (0.0, 2.0)}
    MOVING: ClassVar[tuple[str, ...]] = ("width",)

    width: float = 0.5

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal of one or two channels."""
        if channels > 2:
            raise InputError(f"{self.NAME}: needs one or two channels, got {channels}; mix them down")
        return _Widening(self.width, sample_rate, channels)

    def channels(self, channels: int) -> int:
        """Number of output channels: two."""
        del channels
        return 2


class Binaural(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Places a voice at a direction, for headphones.

    C. Brown and R. Duda, A structural model for binaural sound synthesis, IEEE TSAP 6(5), 1998: the signal of the far
    ear is delayed by Woodworth's (a/c)(|x| + sin |x|) for a sphere of 8.75 cm, and that of each ear is filtered by the
    one-pole head shadow of equation 3.

    Attributes:
        azimuth_degrees: Direction in degrees from the front; positive is to the right.
    """

    NAME: ClassVar[str] = "binaural"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"azimuth_degrees": (-90.0, 90.0)}

    azimuth_degrees: float = 30.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal of one channel."""
        if channels != 1:
            raise InputError(f"{self.NAME}: places one channel, got {channels}; mix them down before")
        return _Placing(math.radians(self.azimuth_degrees), sample_rate)

    def latency_samples(self, sample_rate: int) -> int:
        """Latency in samples: half the length of the interpolation filter."""
        del sample_rate
        return _SINC_TAPS // 2

    def channels(self, channels: int) -> int:
        """Number of output channels: two."""
        del channels
        return 2


class _Gaining:
    def __init__(self, gain_db: float) -> None:
        self._gain = np.float32(10.0 ** (gain_db / 20.0))

    def process(self, block: Samples, moving: Curves) -> Samples:
        curve = moving.get("gain_db")
        gain = self._gain if curve is None else (10.0 ** (curve / 20.0)).astype(np.float32)
        return block * gain


class _Widening:
    def __init__(self, width: float, sample_rate: int, channels: int) -> None:
        self._width = width
        self._all_passes = (
            [_AllPass(round(ms * sample_rate / 1000.0)) for ms in _ALL_PASS_MS] if channels == 1 else []
        )

    def process(self, block: Samples, moving: Curves) -> Samples:
        if block.shape[0] == 1:
            middle = block[0]
            side = middle
            for each in self._all_passes:
                side = each.process(side)
        else:
            middle, side = (block[0] + block[1]) / 2, (block[0] - block[1]) / 2
        width = moving.get("width", np.float64(self._width))
        side = (side * width).astype(np.float32)
        return np.stack((middle + side, middle - side))


class _AllPass:
    """y[n] = -g x[n] + x[n - d] + g y[n - d], computed d samples at a time, which do not depend on each other."""

    def __init__(self, delay: int) -> None:
        self._past = np.zeros(delay)

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        delay, count = self._past.size, samples.size
        made = np.empty(count)
        # left[n] = x[n - d] + g y[n - d]: the contribution of each sample to the one that is d later.
        left = np.concatenate((self._past, np.empty(count)))
        for start in range(0, count, delay):
            here = slice(start, min(start + delay, count))
            made[here] = left[here] - _ALL_PASS_GAIN * samples[here]
            left[here.start + delay : here.stop + delay] = samples[here] + _ALL_PASS_GAIN * made[here]
        self._past = left[count:].copy()
        return made.astype(np.float32)


class _Placing:
    def __init__(self, azimuth: float, sample_rate: int) -> None:
        self._right_is_near = azimuth >= 0.0
        self._near = _Ear(0.0, math.pi / 2 - abs(azimuth), sample_rate)
        late_s = _HEAD_RADIUS_M / _SPEED_OF_SOUND_M_S * (abs(azimuth) + math.sin(abs(azimuth)))
        self._far = _Ear(late_s * sample_rate, math.pi / 2 + abs(azimuth), sample_rate)

    def process(self, block: Samples, moving: Curves) -> Samples:
        del moving
        near, far = self._near.process(block), self._far.process(block)
        return np.concatenate((far, near) if self._right_is_near else (near, far))


class _Ear:
    """Delay and head shadow of one ear, for an angle of incidence in radians."""

    def __init__(self, late_samples: float, incidence: float, sample_rate: int) -> None:
        signal = scipy_signal()
        # The fraction of a sample is delayed by a windowed sinc, the whole samples by a buffer.
        whole = math.floor(late_samples)
        positions = np.arange(_SINC_TAPS) - _SINC_TAPS // 2 - (late_samples - whole)
        taps = np.sinc(positions) * np.blackman(_SINC_TAPS)
        self._delay = Delay(1, whole)
        self._taps = taps / taps.sum()
        # Equation 3, H(s) = (1 + alpha s / 2 w0) / (1 + s / 2 w0), w0 = c / a, alpha by equation 4.
        alpha = 1.05 + 0.95 * math.cos(incidence * 180.0 / 150.0)
        corner = 2.0 * _SPEED_OF_SOUND_M_S / _HEAD_RADIUS_M
        self._shadow = signal.bilinear([alpha / corner, 1.0], [1.0 / corner, 1.0], sample_rate)
        self._filter = signal.lfilter
        self._taps_state = np.zeros((1, _SINC_TAPS - 1))
        self._shadow_state = np.zeros((1, 1))

    def process(self, block: Samples) -> Samples:
        if not block.shape[1]:
            return block
        late, self._taps_state = self._filter(
            self._taps, [1.0], self._delay.process(block), zi=self._taps_state
        )
        shadowed, self._shadow_state = self._filter(*self._shadow, late, zi=self._shadow_state)
        filtered: Samples = shadowed.astype(np.float32)
        return filtered
