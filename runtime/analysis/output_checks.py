"""Checks of an output: clipping, offset, silence, channels that cancel each other, NaN."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.analysis.levels import TruePeak
from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.errors import InputError

__all__ = ["OutputCheck", "OutputChecker", "OutputLimits", "OutputReport", "check_output"]


@dataclass(frozen=True)
class OutputLimits:
    """Limits that an output is checked against.

    Attributes:
        true_peak_db: Highest true peak allowed, in dB relative to full scale.
        dc_offset: Largest magnitude allowed of the mean of a channel; not negative.
        coherence: Lowest correlation allowed of two channels, in [-1, 1]; channels far below 0 cancel each other in
            mono.
        silence_s: Longest run of silence allowed, in seconds; positive.
        silence_db: Magnitude in dB relative to full scale below which a sample is silent.

    Raises:
        InputError: A limit is out of its range.
    """

    true_peak_db: float = 0.0
    dc_offset: float = 0.01
    coherence: float = -0.5
    silence_s: float = 3.0
    silence_db: float = -70.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (-1.0 <= self.coherence <= 1.0 and self.dc_offset >= 0.0 and self.silence_s > 0.0):
            raise InputError(
                f"limits: coherence must be in [-1, 1], dc_offset not negative, silence_s positive, got {self}"
            )


class OutputCheck(msgspec.Struct, frozen=True):
    """Result of one check.

    Attributes:
        name: Name of the check, such as `true_peak_db`.
        measured: Measured value; None when it is not defined, as the coherence of silence or of one channel.
        limit: Value that the check allows at most, or at least for the coherence.
        passed: Whether the measured value is within the limit; true when it is not defined.
    """

    name: str
    measured: float | None
    limit: float
    passed: bool


class OutputReport(msgspec.Struct, frozen=True):
    """Results of all checks of an output.

    Attributes:
        checks: Results, always in the same order.
    """

    checks: tuple[OutputCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


class OutputChecker:
    """Checks a signal that comes in blocks."""

    def __init__(self, sample_rate: int, channels: int = 1, limits: OutputLimits | None = None) -> None:
        """Begin a signal.

        Args:
            sample_rate: Sample rate of the signal in Hz.
            channels: Number of channels of the signal.
            limits: Limits of the checks; None uses the defaults of `OutputLimits`.
        """
        self._limits = limits or OutputLimits()
        self._rate = sample_rate
        self._peak = TruePeak(sample_rate, channels)
        self._silence = 10.0 ** (self._limits.silence_db / 20.0)
        self._samples = 0
        self._not_finite = 0
        self._sums = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._run = self._longest_run = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        """Measure the next samples, float32 [channels, samples]; NaN and infinity are counted and taken as 0."""
        finite = np.isfinite(samples)
        self._not_finite += samples.size - int(np.count_nonzero(finite))
        block = np.where(finite, samples, np.float32(0.0))
        self._samples += block.shape[1]
        self._peak.push(block)
        wide = block.astype(np.float64)
        self._sums += wide.sum(axis=1)
        self._products += wide @ wide.T
        self._count_silence(np.max(np.abs(block), axis=0, initial=0.0) < self._silence)

    def finish(self) -> OutputReport:
        """End the signal and compare its measures with the limits."""
        limits = self._limits
        peak_db = self._peak.finish_db()
        offset = float(np.max(np.abs(self._sums), initial=0.0)) / max(1, self._samples)
        silence_s = self._longest_run / self._rate
        coherence = self._coherence()
        return OutputReport(
            (
                OutputCheck("not_finite_samples", float(self._not_finite), 0.0, self._not_finite == 0),
                OutputCheck("true_peak_db", peak_db, limits.true_peak_db, peak_db <= limits.true_peak_db),
                OutputCheck("dc_offset", offset, limits.dc_offset, offset <= limits.dc_offset),
                OutputCheck("silence_s", silence_s, limits.silence_s, silence_s <= limits.silence_s),
                OutputCheck(
                    "coherence",
                    coherence,
                    limits.coherence,
                    coherence is None or coherence >= limits.coherence,
                ),
            )
        )

    def _count_silence(self, silent: NDArray[np.bool_]) -> None:
        if not silent.size:
            return
        loud = np.flatnonzero(~silent)
        if not loud.size:
            self._run += silent.size
        else:
            between = np.diff(loud) - 1
            self._longest_run = max(
                self._longest_run, self._run + int(loud[0]), int(np.max(between, initial=0))
            )
            self._run = silent.size - 1 - int(loud[-1])
        self._longest_run = max(self._longest_run, self._run)

    def _coherence(self) -> float | None:
        if self._products.shape[0] != 2 or not self._products.diagonal().all():
            return None
        return float(self._products[0, 1] / np.sqrt(self._products[0, 0] * self._products[1, 1]))


def check_output(audio: AudioBuffer, limits: OutputLimits | None = None) -> OutputReport:
    """Check a whole signal against limits; None uses the defaults of `OutputLimits`."""
    checker = OutputChecker(audio.sample_rate, audio.channels, limits)
    checker.push(audio.samples)
    return checker.finish()
