"""Effects that are linear filters: high-pass, low-pass, removal of an offset, equalizers."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from voirs_vocoder.runtime.dsp import butterworth
from voirs_vocoder.runtime.effects import biquad
from voirs_vocoder.runtime.effects.effect import (
    Effect,
    EffectState,
    check_ranges,
    require_below_nyquist,
)
from voirs_vocoder.runtime.effects.sections import Sections

__all__ = ["DcRemoval", "Equalizer", "HighPass", "LowPass", "Peak", "Presence"]

_GAIN_DB = (-24.0, 24.0)
_FREQUENCY_HZ = (10.0, 20_000.0)


class HighPass(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Butterworth high-pass.

    Attributes:
        cutoff_hz: Frequency in Hz at which the response is -3 dB.
        order: Order of the filter; the response falls by 6 dB per octave for each, below the cutoff.
    """

    NAME: ClassVar[str] = "high_pass"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"cutoff_hz": (5.0, 20_000.0), "order": (1, 8)}

    cutoff_hz: float = 70.0
    order: int = 2

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; the cutoff must be below half the sample rate."""
        cutoff_hz = self.require_below_nyquist("cutoff_hz", sample_rate)
        return Sections(butterworth("highpass", cutoff_hz, self.order, sample_rate), channels)


class LowPass(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Butterworth low-pass.

    Attributes:
        cutoff_hz: Frequency in Hz at which the response is -3 dB.
        order: Order of the filter; the response falls by 6 dB per octave for each, above the cutoff.
    """

    NAME: ClassVar[str] = "low_pass"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"cutoff_hz": _FREQUENCY_HZ, "order": (1, 8)}

    cutoff_hz: float = 8_000.0
    order: int = 4

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; the cutoff must be below half the sample rate."""
        cutoff_hz = self.require_below_nyquist("cutoff_hz", sample_rate)
        return Sections(butterworth("lowpass", cutoff_hz, self.order, sample_rate), channels)


class DcRemoval(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Removes a constant offset with a first-order high-pass.

    Attributes:
        cutoff_hz: Frequency in Hz at which the response is -3 dB, far below speech.
    """

    NAME: ClassVar[str] = "dc_removal"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"cutoff_hz": (1.0, 60.0)}

    cutoff_hz: float = 10.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; any number of channels will do."""
        return Sections(butterworth("highpass", self.cutoff_hz, 1, sample_rate), channels)


class Peak(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A peak of an equalizer's response.

    Attributes:
        frequency_hz: Center frequency in Hz.
        gain_db: Gain in dB at the center frequency.
        q: Quality: center frequency over bandwidth.
    """

    frequency_hz: float
    gain_db: float
    q: float = 1.0


class Equalizer(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A low shelf, any number of peaks and a high shelf.

    Attributes:
        low_shelf_hz: Corner frequency of the low shelf in Hz.
        low_shelf_db: Gain in dB far below the corner of the low shelf; 0 leaves the shelf out.
        peaks: Peaks between the shelves.
        high_shelf_hz: Corner frequency of the high shelf in Hz.
        high_shelf_db: Gain in dB far above the corner of the high shelf; 0 leaves the shelf out.
        PEAK_RANGES: Lowest and highest value of each number of a peak.
    """

    NAME: ClassVar[str] = "equalizer"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "low_shelf_hz": _FREQUENCY_HZ,
        "low_shelf_db": _GAIN_DB,
        "high_shelf_hz": _FREQUENCY_HZ,
        "high_shelf_db": _GAIN_DB,
    }
    PEAK_RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "frequency_hz": _FREQUENCY_HZ,
        "gain_db": _GAIN_DB,
        "q": (0.1, 20.0),
    }

    low_shelf_hz: float = 150.0
    low_shelf_db: float = 0.0
    peaks: tuple[Peak, ...] = ()
    high_shelf_hz: float = 6_000.0
    high_shelf_db: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges, including those of the peaks."""
        Effect.__post_init__(self)
        for bell in self.peaks:
            check_ranges(f"{self.NAME}: peak", bell, self.PEAK_RANGES)

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; every frequency in use must be below half the sample rate."""
        sections = []
        if self.low_shelf_db:
            frequency_hz = self.require_below_nyquist("low_shelf_hz", sample_rate)
            sections.append(biquad.low_shelf(frequency_hz, self.low_shelf_db, sample_rate))
        for bell in self.peaks:
            require_below_nyquist(f"{self.NAME}: peak", "frequency_hz", bell.frequency_hz, sample_rate)
            sections.append(biquad.peak(bell.frequency_hz, bell.gain_db, bell.q, sample_rate))
        if self.high_shelf_db:
            frequency_hz = self.require_below_nyquist("high_shelf_hz", sample_rate)
            sections.append(biquad.high_shelf(frequency_hz, self.high_shelf_db, sample_rate))
        flat = np.array([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
        return Sections(np.array(sections) if sections else flat, channels)


class Presence(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Makes a voice more present: a broad peak in the range of the consonants.

    Attributes:
        frequency_hz: Center frequency of the peak in Hz.
        gain_db: Gain in dB at the center frequency.
    """

    NAME: ClassVar[str] = "presence"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "frequency_hz": (1_000.0, 8_000.0),
        "gain_db": (-12.0, 12.0),
    }

    frequency_hz: float = 3_500.0
    gain_db: float = 2.0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; the center frequency must be below half the sample rate."""
        frequency_hz = self.require_below_nyquist("frequency_hz", sample_rate)
        return Sections(biquad.peak(frequency_hz, self.gain_db, 0.8, sample_rate)[np.newaxis], channels)
