"""The contract of an effect: a setting that can be written down, and a state that audio runs through."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import InputError

__all__ = ["Curves", "Effect", "EffectState", "Samples", "check_ranges", "require_below_nyquist"]

_LONGEST_SHOWN_BITS = 64

Samples = NDArray[np.float32]
"""Float32 [channels, samples], nominally in [-1, 1]."""

Curves = Mapping[str, NDArray[np.float64]]
"""Moving parameters by name, a value for each sample: float64 [samples]."""


class EffectState(Protocol):
    """Audio of one signal on its way through an effect."""

    def process(self, block: Samples, moving: Curves) -> Samples:
        """Take a block of any length, none included, and give one as long, `Effect.latency_samples` late.

        The blocks together are the same however the signal is cut.

        Args:
            block: [channels, samples].
            moving: Parameters that are automated, of those in `Effect.MOVING`.
        """
        ...


class Effect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an effect does, as numbers. Each kind is a subclass; its name in files is `NAME`.

    Raises:
        InputError: A number is out of its range.
    """

    NAME: ClassVar[str]
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {}
    MOVING: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self.NAME, self, self.RANGES)

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """A state at the beginning of a signal.

        Args:
            sample_rate: In Hz.
            channels: Of the signal.

        Raises:
            InputError: The effect cannot work at this rate or on so many channels, or scipy is not installed.
        """
        raise NotImplementedError

    def latency_samples(self, sample_rate: int) -> int:
        """By how much the result is late."""
        del sample_rate
        return 0

    def channels(self, channels: int) -> int:
        """How many channels come out where so many go in."""
        return channels

    def tail_s(self) -> float:
        """How long it sounds after its input has ended."""
        return 0.0

    def require_below_nyquist(self, name: str, sample_rate: int) -> float:
        """A frequency of this effect, checked against a rate.

        Raises:
            InputError: The rate cannot hold it.
        """
        return require_below_nyquist(self.NAME, name, getattr(self, name), sample_rate)


def check_ranges(where: str, numbers: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check the attributes of an object. A range that is written in integers takes nothing else.

    Raises:
        InputError: One is no number or out of its range; `where` begins the message.
    """
    for name, (low, high) in ranges.items():
        value = getattr(numbers, name)
        kind: Any = Integral if isinstance(low, int) else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            title = "an integer" if kind is Integral else "a number"
            raise InputError(f"{where}: {name} must be {title}, got {value!r}; mend it")
        # NaN is in no range.
        if not low <= value <= high:
            # An integer may be too large for a float, and so for the format.
            long = isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN_BITS
            got = f"an integer of {value.bit_length()} bits" if long else f"{value:g}"
            raise InputError(f"{where}: {name} must be in [{low:g}, {high:g}], got {got}")


def require_below_nyquist(where: str, name: str, frequency_hz: float, sample_rate: int) -> float:
    """The frequency, checked against a rate.

    Raises:
        InputError: The rate cannot hold it; `where` begins the message.
    """
    if frequency_hz >= sample_rate / 2:
        raise InputError(
            f"{where}: {name} must be below half the sample rate of {sample_rate} Hz, got {frequency_hz:g}; lower it"
        )
    return frequency_hz
