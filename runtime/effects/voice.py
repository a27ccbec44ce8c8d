"""Effects on bands of a voice: de-esser, high-frequency enhancement, warmth."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voirs_vocoder.runtime.dsp import butterworth
from voirs_vocoder.runtime.effects import biquad
from voirs_vocoder.runtime.effects.control import (
    BLOCK_SAMPLES,
    BlockGain,
    Delay,
    Levels,
    smoothed,
    to_db,
    to_gain,
)
from voirs_vocoder.runtime.effects.dynamics import reduction_db
from voirs_vocoder.runtime.effects.effect import Curves, Effect, EffectState, Samples
from voirs_vocoder.runtime.effects.sections import Sections

__all__ = ["DeEsser", "HighFrequencyEnhancement", "Warmth"]

_HIGHEST_SHARE = 0.98  # of half the sample rate, below which a digital shelf is still defined


class DeEsser(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reduces sibilance: a compressor that acts on high frequencies alone.

    With H a first-order high-pass and g the gain, the signal goes through 1 - (1 - g) H: a shelf from 1 to g. H(jw)
    lies on the circle around 1/2 through 0 and 1, so no frequency is amplified for any g; a steeper H would amplify
    some below `frequency_hz`. The level is measured after a second-order high-pass, which attenuates the vowels more.

    Attributes:
        frequency_hz: Frequency in Hz above which the signal is reduced.
        threshold_db: Level in dB of the high frequencies above which they are reduced.
        ratio: Change of the input level over that of the output level, above the threshold.
        attack_ms: Time constant in ms with which the reduction rises.
        release_ms: Time constant in ms with which the reduction falls.
    """

    NAME: ClassVar[str] = "de_esser"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "frequency_hz": (2_000.0, 12_000.0),
        "threshold_db": (-60.0, 0.0),
        "ratio": (1.0, 20.0),
        "attack_ms": (0.1, 50.0),
        "release_ms": (5.0, 500.0),
    }

    frequency_hz: float = 5_000.0
    threshold_db: float = -30.0
    ratio: float = 3.0
    attack_ms: float = 1.0
    release_ms: float = 40.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; `frequency_hz` must be below half the sample rate."""
        frequency_hz = self.require_below_nyquist("frequency_hz", sample_rate)
        measured = Sections(butterworth("highpass", frequency_hz, 2, sample_rate), channels)
        reduced = Sections(butterworth("highpass", frequency_hz, 1, sample_rate), channels)
        return _DeEssing(self, measured, reduced, sample_rate, channels)

    def latency_samples(self, sample_rate: int) -> int:
        """Latency in samples: one block."""
        del sample_rate
        return BLOCK_SAMPLES


class HighFrequencyEnhancement(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Brightens a voice: a high shelf, and second harmonics of the band from `frequency_hz` to a quarter of the rate.

    The harmonics come from squaring the band, which doubles its frequencies: below a quarter of the sample rate none
    of them aliases.

    Attributes:
        frequency_hz: Corner frequency of the shelf and lower edge of the band, in Hz.
        gain_db: Gain in dB of the shelf.
        harmonics: Amplitude of the second harmonic of a full-scale tone in the band.
    """

    NAME: ClassVar[str] = "high_frequency_enhancement"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "frequency_hz": (1_000.0, 10_000.0),
        "gain_db": (0.0, 12.0),
        "harmonics": (0.0, 1.0),
    }

    frequency_hz: float = 3_000.0
    gain_db: float = 3.0
    harmonics: float = 0.2

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; a frequency above the range of the sample rate is lowered to it."""
        highest_hz = sample_rate / 4.0
        frequency_hz = min(self.frequency_hz, 0.8 * highest_hz)
        band = np.concatenate(
            (
                butterworth("highpass", frequency_hz, 4, sample_rate),
                butterworth("lowpass", 0.95 * highest_hz, 8, sample_rate),
            )
        )
        shelf_hz = min(self.frequency_hz, _HIGHEST_SHARE * sample_rate / 2)
        shelf = biquad.high_shelf(shelf_hz, self.gain_db, sample_rate)[np.newaxis]
        # Squaring also gives difference tones, which lie below the band.
        rest = butterworth("highpass", frequency_hz, 4, sample_rate)
        return _Harmonic(
            Sections(shelf, channels), Sections(band, channels), Sections(rest, channels), self.harmonics
        )


class Warmth(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Adds warmth: a low shelf, and second harmonics of the band below `frequency_hz`, which come from squaring it.

    Attributes:
        frequency_hz: Corner frequency of the shelf and upper edge of the band, in Hz.
        gain_db: Gain in dB of the shelf.
        harmonics: Amplitude of the second harmonic of a full-scale tone in the band.
    """

    NAME: ClassVar[str] = "warmth"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "frequency_hz": (80.0, 1_000.0),
        "gain_db": (0.0, 12.0),
        "harmonics": (0.0, 1.0),
    }

    frequency_hz: float = 250.0
    gain_db: float = 2.0
    harmonics: float = 0.1

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; any number of channels will do."""
        shelf = biquad.low_shelf(self.frequency_hz, self.gain_db, sample_rate)[np.newaxis]
        band = butterworth("lowpass", self.frequency_hz, 4, sample_rate)
        rest = butterworth("highpass", 60.0, 2, sample_rate)
        return _Harmonic(
            Sections(shelf, channels), Sections(band, channels), Sections(rest, channels), self.harmonics
        )


class _DeEssing:
    def __init__(
        self, effect: DeEsser, measured: Sections, reduced: Sections, sample_rate: int, channels: int
    ) -> None:
        reduction = 0.0

        def gains(levels: Levels) -> Levels:
            nonlocal reduction
            wanted = reduction_db(to_db(levels), effect.threshold_db, effect.ratio, 6.0)
            made, reduction = smoothed(wanted, reduction, effect.attack_ms, effect.release_ms, sample_rate)
            return to_gain(-made)

        self._measured, self._reduced = measured, reduced
        self._gain = BlockGain(gains, channels)
        self._late = Delay(channels, BLOCK_SAMPLES)
        self._late_reduced = Delay(channels, BLOCK_SAMPLES)

    def process(self, block: Samples, moving: Curves) -> Samples:
        gain = self._gain.gain(self._measured.process(block, moving))
        high = self._late_reduced.process(self._reduced.process(block, moving))
        softened: Samples = self._late.process(block) + high * (gain - np.float32(1.0))
        return softened


class _Harmonic:
    def __init__(self, shelf: Sections, band: Sections, rest: Sections, harmonics: float) -> None:
        self._shelf, self._band, self._rest = shelf, band, rest
        # The square of a sine holds its second harmonic at half the amplitude.
        self._amount = 2.0 * harmonics

    def process(self, block: Samples, moving: Curves) -> Samples:
        del moving
        shelved = self._shelf.filtered(block)
        if self._amount:
            shelved += self._amount * self._rest.filtered(self._band.filtered(block) ** 2)
        return shelved.astype(np.float32)
