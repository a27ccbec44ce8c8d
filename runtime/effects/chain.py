"""Effects one after the other: bypassed, mixed with the dry signal, automated, and in time with what went in."""

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
    """A parameter that moves: on straight lines between points, before the first and after the last as there.

    Attributes:
        parameter: `wet`, or one of the effect's `MOVING`.
        points: Time in seconds and value, in order.
    """

    parameter: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Check the order."""
        times = [time for time, _ in self.points]
        # NaN compares as false and so is in no order.
        ordered = all(before < after for before, after in pairwise((*times, math.inf)))
        if not 1 <= len(times) <= _MAX_POINTS or not ordered or not times[0] >= 0:
            raise InputError(
                f"automation of {self.parameter}: needs 1 to {_MAX_POINTS} points at finite times in order, from 0 s "
                f"on; got {len(times)}; sort them and drop doubles"
            )

    def curve(self, first_sample: int, count: int, sample_rate: int) -> NDArray[np.float64]:
        """The values of `count` samples from one on: float64 [count]."""
        times, values = zip(*self.points, strict=True)
        curve: NDArray[np.float64] = np.interp((first_sample + np.arange(count)) / sample_rate, times, values)
        return curve


@dataclass(frozen=True)
class Link:
    """An effect in a chain.

    Attributes:
        effect: What it does.
        bypass: Whether it is left out.
        wet: Share of its result, in [0, 1]; the rest is what went in, in time with it.
        automation: Parameters that move.
    """

    effect: Effect
    bypass: bool = False
    wet: float = 1.0
    automation: tuple[Automation, ...] = ()

    def __post_init__(self) -> None:
        """Check ranges, also of what moves."""
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
                f"{name}: each parameter has one automation, got {', '.join(moving)}; merge them"
            )


@dataclass(frozen=True)
class EffectChain:
    """A chain of effects.

    Attributes:
        links: In the order in which the signal meets them.
        name: What it is called.

    Example:
        chain = load_chain("speech")
        louder = chain.apply(vocoder.vocode(mel))
    """

    links: tuple[Link, ...]
    name: str = ""

    def __post_init__(self) -> None:
        """Check the length."""
        if not 1 <= len(self.links) <= _MAX_LINKS:
            raise InputError(
                f"a chain has 1 to {_MAX_LINKS} effects, got {len(self.links)}; leave it out instead"
            )

    @property
    def active(self) -> tuple[Link, ...]:
        """Those that are not bypassed."""
        return tuple(link for link in self.links if not link.bypass)

    def latency_samples(self, sample_rate: int) -> int:
        """How long a stream waits for the first sample; `apply` makes up for it."""
        return sum(link.effect.latency_samples(sample_rate) for link in self.active)

    def channels(self, channels: int) -> int:
        """How many channels come out where so many go in."""
        for link in self.active:
            channels = link.effect.channels(channels)
        return channels

    @property
    def tail_s(self) -> float:
        """How long it sounds on after its input has ended."""
        return sum(link.effect.tail_s() for link in self.active)

    def open(self, sample_rate: int, channels: int = 1, *, tail: bool = False) -> ChainStream:
        """A signal that comes in blocks.

        Args:
            sample_rate: In Hz.
            channels: Of what goes in.
            tail: Whether the end is let sound on for `tail_s`; otherwise as much comes out as went in.

        Raises:
            InputError: An effect cannot work at this rate or on so many channels, or scipy is not installed.
        """
        return ChainStream(self, sample_rate, channels, tail=tail)

    def apply(self, audio: AudioBuffer, *, tail: bool = False) -> AudioBuffer:
        """A whole signal, the same as in any blocks.

        Args:
            audio: What goes in.
            tail: See `open`.

        Raises:
            InputError: As `open`.
        """
        stream = self.open(audio.sample_rate, audio.channels, tail=tail)
        blocks = list(stream.over(array_blocks(audio.samples)))
        return AudioBuffer(np.concatenate(blocks, axis=1), audio.sample_rate)


class ChainStream:
    """A signal on its way through a chain.

    Attributes:
        latency_samples: How much is held back until `finish`.
        channels: Of what comes out.
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
        """Take the next samples, give what is finished.

        Args:
            block: Float32 [channels, samples], any number of samples.

        Raises:
            InputError: There are other channels than were said, another type, or samples that are not finite, which
                filters would never forget. The stream is as it was before.
        """
        if block.ndim != 2 or block.shape[0] != self._channels_in:
            raise InputError(
                f"a block must be [{self._channels_in}, samples], got shape {block.shape}; reshape it"
            )
        if block.dtype != np.float32:
            raise InputError(f"a block must be float32, got {block.dtype}; convert with .astype(np.float32)")
        if not np.isfinite(block).all():
            raise InputError("audio must be finite, got NaN or infinity; check where it comes from")
        for run in self._runs:
            block = run.process(block)
        skipped = min(self._to_skip, block.shape[1])
        self._to_skip -= skipped
        return block[:, skipped:]

    def finish(self) -> Samples:
        """The rest: together with what `process` gave, as many samples as went in, and the tail if it was asked for."""
        rest = self.latency_samples + self._tail_samples
        return self.process(np.zeros((self._channels_in, rest), np.float32))

    def over(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """All of a signal, block by block."""
        for block in blocks:
            yield self.process(block)
        yield self.finish()


class _Run:
    """A link with its state."""

    def __init__(self, link: Link, sample_rate: int, channels: int, late_samples: int) -> None:
        effect = link.effect
        latency = effect.latency_samples(sample_rate)
        self._state = effect.open(sample_rate, channels)
        self._automation = {each.parameter: each for each in link.automation}
        self._wet = link.wet
        self._mixed = link.wet != 1.0 or _WET in self._automation
        self._dry = Delay(channels, latency)
        self._sample_rate = sample_rate
        # Automation is told in the time of what went into the chain.
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
