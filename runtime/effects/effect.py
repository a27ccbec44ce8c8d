"""The contract of an effect: settings that can be stored, and a state that processes one signal."""

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
"""Automated parameters by name, each with a value for every sample: float64 [samples]."""


class EffectState(Protocol):
    """State of an effect for one signal. Not thread-safe."""

    def process(self, block: Samples, moving: Curves) -> Samples:
        """Process the next samples. The result does not depend on how the signal is cut into blocks.

        Args:
            block: Float32 [channels, samples] with any number of samples, including none.
            moving: Curves of the automated parameters, which are among those in `Effect.MOVING`.

        Returns:
            Float32 [channels, samples], as many samples as went in, delayed by `Effect.latency_samples`.
        """
        ...


class Effect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of an effect. Each kind of effect is a subclass.

    Attributes:
        NAME: Name of the kind of effect in TOML files.
        RANGES: Lowest and highest value of each number; a range of two integers admits integers alone.
        MOVING: Names of the settings that can be automated.

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
        """Begin a signal.

        Args:
            sample_rate: Sample rate of the signal in Hz.
            channels: Number of input channels.

        Returns:
            The state of the effect for this signal.

        Raises:
            InputError: The effect cannot work at this rate or on so many channels, or scipy is not installed.
        """
        raise NotImplementedError

    def latency_samples(self, sample_rate: int) -> int:
        """Delay of the output at this sample rate, in samples."""
        del sample_rate
        return 0

    def channels(self, channels: int) -> int:
        """Number of output channels for a number of input channels."""
        return channels

    def tail_s(self) -> float:
        """Longest time in seconds that the output lasts beyond the end of the input."""
        return 0.0

    def require_below_nyquist(self, name: str, sample_rate: int) -> float:
        """The setting `name`, a frequency in Hz, checked against a sample rate.

        Raises:
            InputError: The frequency is not below half the sample rate.
        """
        return require_below_nyquist(self.NAME, name, getattr(self, name), sample_rate)


def check_ranges(where: str, numbers: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check numbers that are attributes of an object.

    Args:
        where: Beginning of the error message.
        numbers: The object.
        ranges: Lowest and highest value by the name of the attribute; a range of two integers admits integers alone.

    Raises:
        InputError: An attribute is no number or out of its range.
    """
    for name, (low, high) in ranges.items():
        value = getattr(numbers, name)
        kind: Any = Integral if isinstance(low, int) else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            title = "an integer" if kind is Integral else "a number"
            raise InputError(f"{where}: {name} must be {title}, got {value!r}; change it")
        # NaN is in no range.
        if not low <= value <= high:
            # An integer may be too large for a float, and so for the format.
            long = isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN_BITS
            got = f"an integer of {value.bit_length()} bits" if long else f"{value:g}"
            raise InputError(f"{where}: {name} must be in [{low:g}, {high:g}], got {got}")


def require_below_nyquist(where: str, name: str, frequency_hz: float, sample_rate: int) -> float:
    """Check a frequency against a sample rate.

    Args:
        where: Beginning of the error message.
        name: Name of the setting in the error message.
        frequency_hz: The frequency in Hz.
        sample_rate: Sample rate of the signal in Hz.

    Returns:
        The frequency in Hz.

    Raises:
        InputError: The frequency is not below half the sample rate.
    """
    if frequency_hz >= sample_rate / 2:
        raise InputError(
            f"{where}: {name} must be below half the sample rate of {sample_rate} Hz, got {frequency_hz:g}; lower it"
        )
    return frequency_hz
