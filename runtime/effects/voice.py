"""Effects on the bands of a voice: de-esser, high-frequency enhancement, warmth."""

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

_HIGHEST_SHARE = 0.98  # of half the rate, where a digital filter still is one


class DeEsser(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turns hissing down: what lies above `frequency_hz` is compressed and the rest let be.

    With H a first-order high-pass and g the gain, the signal goes through 1 - (1 - g) H: a shelf from 1 to g. H(jw)
    lies on the circle around 1/2 through 0 and 1, so no frequency is ever raised, whatever g is; with a steeper H
    those below `frequency_hz` would be. The level is that above a second-order high-pass, which hears less of the
    vowels.
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
        """See `Effect.open`."""
        frequency_hz = self.require_below_nyquist("frequency_hz", sample_rate)
        heard = Sections(butterworth("highpass", frequency_hz, 2, sample_rate), channels)
        turned = Sections(butterworth("highpass", frequency_hz, 1, sample_rate), channels)
        return _DeEssing(self, heard, turned, sample_rate, channels)

    def latency_samples(self, sample_rate: int) -> int:
        """See `Effect.latency_samples`."""
        del sample_rate
        return BLOCK_SAMPLES


class HighFrequencyEnhancement(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Brightens: a high shelf, and second harmonics of the band from `frequency_hz` to a quarter of the rate.

    The band is squared, which doubles frequencies and nothing more: below a quarter of the rate none of them aliases.
    `harmonics` is the amplitude of those of a full-scale tone.
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
        """See `Effect.open`."""
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
        # The difference tones of the squared band lie below it.
        rest = butterworth("highpass", frequency_hz, 4, sample_rate)
        return _Harmonic(
            Sections(shelf, channels), Sections(band, channels), Sections(rest, channels), self.harmonics
        )


class Warmth(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Warms: a low shelf, and second harmonics of what lies below `frequency_hz`. See `HighFrequencyEnhancement`."""

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
        """See `Effect.open`."""
        shelf = biquad.low_shelf(self.frequency_hz, self.gain_db, sample_rate)[np.newaxis]
        band = butterworth("lowpass", self.frequency_hz, 4, sample_rate)
        rest = butterworth("highpass", 60.0, 2, sample_rate)
        return _Harmonic(
            Sections(shelf, channels), Sections(band, channels), Sections(rest, channels), self.harmonics
        )


class _DeEssing:
    def __init__(
        self, effect: DeEsser, heard: Sections, turned: Sections, sample_rate: int, channels: int
    ) -> None:
        reduced = 0.0

        def gains(levels: Levels) -> Levels:
            nonlocal reduced
            wanted = reduction_db(to_db(levels), effect.threshold_db, effect.ratio, 6.0)
            made, reduced = smoothed(wanted, reduced, effect.attack_ms, effect.release_ms, sample_rate)
            return to_gain(-made)

        self._heard, self._turned = heard, turned
        self._gain = BlockGain(gains, channels)
        self._late = Delay(channels, BLOCK_SAMPLES)
        self._late_turned = Delay(channels, BLOCK_SAMPLES)

    def process(self, block: Samples, moving: Curves) -> Samples:
        """See `EffectState.process`."""
        gain = self._gain.gain(self._heard.process(block, moving))
        turned = self._late_turned.process(self._turned.process(block, moving))
        mended: Samples = self._late.process(block) + turned * (gain - np.float32(1.0))
        return mended


class _Harmonic:
    def __init__(self, shelf: Sections, band: Sections, rest: Sections, harmonics: float) -> None:
        self._shelf, self._band, self._rest = shelf, band, rest
        # The square of a sine holds its second harmonic at half the amplitude.
        self._amount = 2.0 * harmonics

    def process(self, block: Samples, moving: Curves) -> Samples:
        """See `EffectState.process`."""
        del moving
        shelved = self._shelf.filtered(block)
        if self._amount:
            shelved += self._amount * self._rest.filtered(self._band.filtered(block) ** 2)
        return shelved.astype(np.float32)
