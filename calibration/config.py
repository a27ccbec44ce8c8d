"""How INT8 graphs are quantized: settings that need neither numpy nor onnx, for command lines too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from voirs_vocoder.runtime.errors import InputError

__all__ = ["RANGE_METHODS", "ROUNDINGS", "Int8Config", "RangeMethod", "Rounding"]

RangeMethod = Literal["mse", "min-max", "percentile", "entropy"]
"""Name of a way to choose the range of a tensor: `mse` minimizes the expected squared error of rounding and clipping;
`min-max` clips nothing; `percentile` keeps 99.99% of the values; `entropy` minimizes the Kullback-Leibler divergence
between the distributions before and after quantization."""

RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
"""Names of all range methods, the default first."""

Rounding = Literal["nearest", "learned"]
"""How weights become integers: each to the `nearest`, or `learned` so that the error of what the convolution computes
on the calibration runs is least."""

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
"""Names of all ways to round weights."""


@dataclass(frozen=True)
class Int8Config:
    """How to quantize.

    Attributes:
        equalization_exponent: How far channel ranges are brought together, from 0 (not at all) to 1 (equal).
        max_float_share: Share of the convolutions' arithmetic that may stay float, spent where quantization adds most
            noise; in [0, 1], 0 quantizes every convolution that no pattern keeps float.
        probe_runs: Number of calibration runs that measure the noise of each convolution, at least 1: the first of as
            many equal parts of all runs.
        max_probe_macs: Largest number of multiply-accumulates for measuring the noise of all convolutions. A network
            that would need more, and with it hours, keeps no convolution float for its noise.
        min_channels: A convolution with fewer input channels and fewer output channels than this stays float: integer
            kernels take 16 at a time, so that it is no faster in integers, and in HiFi-GAN it makes the noise floor of
            the highest octave. Where all convolutions are narrower, all are quantized.
        ranges: How the range of each activation is chosen, a `RangeMethod`.
        bias_correction: Whether the mean error of each convolution is taken out of its bias.
        rounding: How weights become integers, a `Rounding`.
        float_convolutions: Names of the convolutions that stay float besides those that patterns and `min_channels`
            keep float, in place of a search by noise; None searches as `max_float_share` allows.

    Raises:
        InputError: A value is out of range.
    """

    equalization_exponent: float = 0.5
    max_float_share: float = 0.06
    probe_runs: int = 2
    max_probe_macs: int = 20_000_000_000_000
    min_channels: int = 16
    ranges: RangeMethod = "mse"
    bias_correction: bool = False
    rounding: Rounding = "nearest"
    float_convolutions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.ranges not in RANGE_METHODS:
            raise InputError(f"ranges must be one of {', '.join(RANGE_METHODS)}, got {self.ranges!r}")
        if self.rounding not in ROUNDINGS:
            raise InputError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {self.rounding!r}")
        if not 0.0 <= self.equalization_exponent <= 1.0:
            raise InputError(f"equalization_exponent must be in [0, 1], got {self.equalization_exponent}")
        if not 0.0 <= self.max_float_share <= 1.0:
            raise InputError(f"max_float_share must be in [0, 1], got {self.max_float_share}")
        if self.probe_runs < 1:
            raise InputError(f"probe_runs must be at least 1, got {self.probe_runs}")
        if self.min_channels < 1:
            raise InputError(f"min_channels must be at least 1, got {self.min_channels}")
