"""Chains of effects: bypass, mix with the dry signal, automation, and compensation of the latency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer, array_blocks
from voirs_vocoder.runtime.effects.control import Delay
from voirs_vocoder.runtime.effects.effect import Effect, Samples, check_ranges
from voirs_vocoder.runtime.errors import InputError

__all__ = ["Automation", "ChainStream", "EffectChain", "Link"]

_WET = "wet"
_MAX_POINTS = 10_000
_MAX_LINKS = 64


@dataclass(frozen=True)
class Automation:
    """A parameter that moves on straight lines between points and is constant before the first and after the last.

    Attributes:
        parameter: Name of the parameter: `wet`, or one of the effect's `MOVING`.
        points: Pairs of a time in seconds, from the beginning of the signal, and a value; 1 to 10,000 in order of time.

    Raises:
        InputError: The points are none, too many, out of order, or at a time that is negative or not finite.
    """

    parameter: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Check number and order of the points."""
        times = [time for time, _ in self.points]
        # NaN compares as false and so is in no order.
        ordered = all(before < after for before, after in pairwise((*times, math.inf)))
        if not 1 <= len(times) <= _MAX_POINTS or not ordered or not times[0] >= 0:
            raise InputError(
                f"automation of {self.parameter}: needs 1 to {_MAX_POINTS} points at finite times in order, from 0 s "
                f"on; got {len(times)}; sort them and drop doubles"
            )

    def curve(self, first_sample: int, count: int, sample_rate: int) -> NDArray[np.float64]:
        """The values of `count` samples, beginning with sample `first_sample`: float64 [count]."""
        times, values = zip(*self.points, strict=True)
        curve: NDArray[np.float64] = np.interp((first_sample + np.arange(count)) / sample_rate, times, values)
        return curve


@dataclass(frozen=True)
class Link:
    """An effect in a chain.

    Attributes:
        effect: The effect and its settings.
        bypass: Whether the chain leaves the effect out.
        wet: Share of the processed signal in [0, 1]; the rest is the dry signal, delayed by the effect's latency.
        automation: Parameters that move, each at most once.

    Raises:
        InputError: A number is out of range, or a parameter cannot be automated or is automated twice.
    """

    effect: Effect
    bypass: bool = False
    wet: float = 1.0
    automation: tuple[Automation, ...] = ()

    def __post_init__(self) -> None:
        """Check ranges, including those of the automation."""
        name = self.effect.NAME
        ranges = {_WET: (0.0, 1.0), **self.effect.RANGES}
        check_ranges(name, self, {_WET: ranges[_WET]})
        known = (_WET, *self.effect.MOVING)
        for each in self.automation:
            if each.parameter not in known:
                raise InputError(
                    f"{name}: {each.parameter} cannot be automated, only {', '.join(known)}; leave it fixed"
                )
            low, high = ranges[each.parameter]
            for time_s, value in each.points:
                if not low <= value <= high:
                    raise InputError(
                        f"{name}: {each.parameter} must be in [{low:g}, {high:g}], got {value:g} at {time_s:g} s"
                    )
        moving = [each.parameter for each in self.automation]
        if len(set(moving)) != len(moving):
            raise InputError(
                f"{name}: each parameter may have one automation, got {', '.join(moving)}; merge them"
            )


@dataclass(frozen=True)
class EffectChain:
    """A chain of effects.

    Attributes:
        links: The effects, 1 to 64, in the order of processing.
        name: Name of the chain, which may be empty.

    Raises:
        InputError: There are no links, or more than 64.

    Example:
        chain = load_chain("speech")
        louder = chain.apply(vocoder.vocode(mel))
    """

    links: tuple[Link, ...]
    name: str = ""

    def __post_init__(self) -> None:
        """Check the number of effects."""
        if not 1 <= len(self.links) <= _MAX_LINKS:
            raise InputError(
                f"a chain has 1 to {_MAX_LINKS} effects, got {len(self.links)}; leave it out instead"
            )

    @property
    def active(self) -> tuple[Link, ...]:
        """The links that are not bypassed."""
        return tuple(link for link in self.links if not link.bypass)

    def latency_samples(self, sample_rate: int) -> int:
        """Delay of a stream's output at this sample rate, in samples; `apply` compensates for it."""
        return sum(link.effect.latency_samples(sample_rate) for link in self.active)

    def channels(self, channels: int) -> int:
        """Number of output channels for a number of input channels."""
        for link in self.active:
            channels = link.effect.channels(channels)
        return channels

    @property
    def tail_s(self) -> float:
        """Longest time in seconds that the output lasts beyond the end of the input."""
        return sum(link.effect.tail_s() for link in self.active)

    def open(self, sample_rate: int, channels: int = 1, *, tail: bool = False) -> ChainStream:
        """Process a signal that comes in blocks.

        Args:
            sample_rate: Sample rate of the signal in Hz.
            channels: Number of input channels.
            tail: Whether the output lasts `tail_s` longer than the input; otherwise both are equally long.

        Returns:
            A stream at the beginning of a signal.

        Raises:
            InputError: An effect cannot work at this rate or on so many channels, or scipy is not installed.
        """
        return ChainStream(self, sample_rate, channels, tail=tail)

    def apply(self, audio: AudioBuffer, *, tail: bool = False) -> AudioBuffer:
        """Process a whole signal; the result equals that of a stream, in blocks of any size.

        Args:
            audio: The dry signal.
            tail: Whether the output lasts `tail_s` longer than the input; otherwise both are equally long.

        Returns:
            The processed signal, in time with the dry one.

        Raises:
            InputError: An effect cannot work at this rate or on so many channels, scipy is not installed, or the
                samples are not finite.
        """
        stream = self.open(audio.sample_rate, audio.channels, tail=tail)
        blocks = list(stream.over(array_blocks(audio.samples)))
        return AudioBuffer(np.concatenate(blocks, axis=1), audio.sample_rate)


class ChainStream:
    """State of a chain for one signal. Not thread-safe.

    Attributes:
        latency_samples: Number of samples that are held back until `finish`.
        channels: Number of output channels.
    """

    def __init__(self, chain: EffectChain, sample_rate: int, channels: int, *, tail: bool) -> None:
        """Use `EffectChain.open`."""
        self._channels_in = channels
        self._runs: list[_Run] = []
        late = 0
        for link in chain.active:
            self._runs.append(_Run(link, sample_rate, channels, late))
            late += link.effect.latency_samples(sample_rate)
            channels = link.effect.channels(channels)
        self.channels = channels
        self.latency_samples = late
        self._to_skip = late
        self._tail_samples = round(chain.tail_s * sample_rate) if tail else 0

    def process(self, block: Samples) -> Samples:
        """Process the next samples.

        Args:
            block: Float32 [channels, samples] with any number of samples.

        Returns:
            The samples that are finished, float32 [channels, samples]; at first fewer than went in.

        Raises:
            InputError: The block has another number of channels than the stream, another type, or samples that are not
                finite, which would stay in the filters' state. The stream is unchanged.
        """
        if block.ndim != 2 or block.shape[0] != self._channels_in:
            raise InputError(
                f"a block must be [{self._channels_in}, samples], got shape {block.shape}; reshape it"
            )
        if block.dtype != np.float32:
            raise InputError(f"a block must be float32, got {block.dtype}; convert with .astype(np.float32)")
        if not np.isfinite(block).all():
            raise InputError("audio must be finite, got NaN or infinity; check the source of the audio")
        for run in self._runs:
            block = run.process(block)
        skipped = min(self._to_skip, block.shape[1])
        self._to_skip -= skipped
        return block[:, skipped:]

    def finish(self) -> Samples:
        """End the signal.

        Returns:
            The remaining samples, float32 [channels, samples]: with those of `process` as many as went in, and the tail
            when the stream was opened with it.
        """
        rest = self.latency_samples + self._tail_samples
        return self.process(np.zeros((self._channels_in, rest), np.float32))

    def over(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Process all blocks of a signal and end it; yields one block for each, and the rest."""
        for block in blocks:
            yield self.process(block)
        yield self.finish()


class _Run:
    """State of one link of a chain."""

    def __init__(self, link: Link, sample_rate: int, channels: int, late_samples: int) -> None:
        effect = link.effect
        latency = effect.latency_samples(sample_rate)
        self._state = effect.open(sample_rate, channels)
        self._automation = {each.parameter: each for each in link.automation}
        self._wet = link.wet
        self._mixed = link.wet != 1.0 or _WET in self._automation
        self._dry = Delay(channels, latency)
        self._sample_rate = sample_rate
        # Automation counts time from the beginning of the chain's input: the effect runs late by the latency of those
        # before it, and its output by its own latency too.
        self._inside = -late_samples
        self._outside = -late_samples - latency

    def process(self, block: Samples) -> Samples:
        count = block.shape[1]
        moving = {
            name: each.curve(self._inside, count, self._sample_rate)
            for name, each in self._automation.items()
            if name != _WET
        }
        made = self._state.process(block, moving)
        if self._mixed:
            wet = np.full(count, self._wet)
            if _WET in self._automation:
                wet = self._automation[_WET].curve(self._outside, count, self._sample_rate)
            dry = self._dry.process(block)
            made = dry + (made - dry) * wet.astype(np.float32)
        self._inside += count
        self._outside += count
        return made
