"""Reverberation: the signal convolved with exponentially decaying noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import butterworth
from voirs_vocoder.runtime.effects.effect import Curves, Effect, EffectState, Samples
from voirs_vocoder.runtime.effects.sections import Sections

__all__ = ["Reverb", "room_response"]

_DECAY_DB = 60.0
_LONG_PARTITION = 8  # times the short one


class Reverb(Effect, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reverberation of a room without the direct sound; `wet` of the chain's link mixes both.

    The room response is Gaussian noise, different for each channel, with an exponential decay and unit energy (J.
    Moorer, About this reverberation business, Computer Music Journal 3(2), 1979). The convolution runs in blocks no
    longer than the pre-delay, so it adds no latency.

    Attributes:
        decay_s: Time in seconds in which the response falls by 60 dB.
        pre_delay_ms: Time in ms between the direct sound and the response.
        damping_hz: Frequency in Hz above which the response is attenuated, by 6 dB per octave.
        seed: Seed of the noise.
    """

    NAME: ClassVar[str] = "reverb"
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "decay_s": (0.05, 5.0),
        "pre_delay_ms": (2.0, 200.0),
        "damping_hz": (500.0, 20_000.0),
        "seed": (0, 2**32 - 1),
    }

    decay_s: float = 0.5
    pre_delay_ms: float = 15.0
    damping_hz: float = 5_000.0
    seed: int = 0

    def open(self, sample_rate: int, channels: int) -> EffectState:
        """Begin a signal; any sample rate and any number of channels will do."""
        pre_delay = max(1, round(self.pre_delay_ms * sample_rate / 1000.0))
        # A power of two, which the FFT is fastest at.
        partition = 1 << (pre_delay.bit_length() - 1)
        responses = np.stack([room_response(self, sample_rate, channel) for channel in range(channels)])
        # The later part of the response may wait for long partitions, which take fewer operations per sample.
        long = _LONG_PARTITION * partition
        parts = [_Convolving(responses[:, :long], partition, pre_delay)]
        if responses.shape[1] > long:
            parts.append(_Convolving(responses[:, long:], long, pre_delay + long))
        return _Together(parts)

    def tail_s(self) -> float:
        """Length of the response with its pre-delay, in seconds."""
        return self.decay_s + self.pre_delay_ms / 1000.0


def room_response(reverb: Reverb, sample_rate: int, channel: int) -> NDArray[np.float64]:
    """The response of a room, without its pre-delay.

    Args:
        reverb: Settings of the room.
        sample_rate: Sample rate in Hz.
        channel: Number of the channel, from 0, which selects its noise.

    Returns:
        The response, float64 [samples], of unit energy.
    """
    length = max(2, round(reverb.decay_s * sample_rate))
    noise = np.random.default_rng([reverb.seed, channel]).standard_normal((1, length))
    if reverb.damping_hz < 0.49 * sample_rate:
        noise = Sections(butterworth("lowpass", reverb.damping_hz, 1, sample_rate), 1).filtered(noise)
    fall = 10.0 ** (-_DECAY_DB / 20.0 * np.arange(length) / length)
    response: NDArray[np.float64] = noise[0] * fall
    response /= np.sqrt(np.sum(response**2))
    return response


class _Together:
    """State of a `Reverb` for one signal: the sum of the convolutions with the parts of the response."""

    def __init__(self, parts: Sequence[_Convolving]) -> None:
        self._parts = parts

    def process(self, block: Samples, moving: Curves) -> Samples:
        del moving
        first, *others = (part.process(block) for part in self._parts)
        for other in others:
            first += other
        return first


class _Convolving:
    """Uniformly partitioned convolution on a fixed grid, delayed by at least one partition.

    W. Gardner, Efficient convolution without input-output delay, JAES 43(3), 1995, section 2, with overlap-save.
    """

    def __init__(self, responses: NDArray[np.float64], partition: int, late_samples: int) -> None:
        channels, length = responses.shape
        count = -(-length // partition)
        padded = np.pad(responses, ((0, 0), (0, count * partition - length)))
        self._spectra = np.fft.rfft(padded.reshape(channels, count, partition), 2 * partition)
        self._partition = partition
        self._past = np.zeros_like(self._spectra)
        self._newest = 0
        self._before = np.zeros((channels, partition))
        self._waiting = np.empty((channels, 0), np.float32)
        self._ready = np.empty((channels, 0), np.float32)
        self._lead = late_samples

    def process(self, block: Samples) -> Samples:
        waiting = np.concatenate((self._waiting, block), axis=1)
        pieces = [self._ready]
        while waiting.shape[1] >= self._partition:
            pieces.append(self._convolved(waiting[:, : self._partition]))
            waiting = waiting[:, self._partition :]
        self._waiting = waiting
        ready = np.concatenate(pieces, axis=1)
        lead = min(block.shape[1], self._lead)
        self._lead -= lead
        count = block.shape[1] - lead
        self._ready = ready[:, count:]
        return np.concatenate((np.zeros((block.shape[0], lead), np.float32), ready[:, :count]), axis=1)

    def _convolved(self, block: Samples) -> Samples:
        joined = np.concatenate((self._before, block), axis=1)
        self._before = block.astype(np.float64)
        count = self._spectra.shape[1]
        self._newest = (self._newest - 1) % count
        self._past[:, self._newest] = np.fft.rfft(joined)
        # `_past` is a ring buffer of spectra: the newest block is multiplied with the first partition, the one before
        # it with the second, and so on. The two products are the ring before and after its end.
        split = count - self._newest
        total = np.einsum("cpf,cpf->cf", self._past[:, self._newest :], self._spectra[:, :split])
        if self._newest:
            total += np.einsum("cpf,cpf->cf", self._past[:, : self._newest], self._spectra[:, split:])
        return np.fft.irfft(total)[:, self._partition :].astype(np.float32)
