"""A live stream: mel frames in as they arrive, audio out as soon as it is finished."""

from __future__ import annotations

import dataclasses
import threading
import time
import warnings
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import MelRangeWarning, MelSpectrogram, RangeWatch
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.values import check_chunk
from voirs_vocoder.runtime.prosody import Prosody, ProsodyStream
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.statistics import StreamClock, StreamStatistics

__all__ = ["ChunkSize", "VocoderStream"]

_MISSES_TO_GROW = 2
_REMEMBERED_RUNS = 8
_CALM_RUNS_TO_SHRINK = 64

_Phase = Literal["open", "ended", "failed", "closed"]
_REFUSALS: dict[str, str] = {
    "ended": "the stream has ended; reset() begins a new utterance",
    "failed": "the stream failed before this; reset() begins a new utterance",
    "closed": "the stream is closed; open another one",
}


class VocoderStream:
    """One live utterance, then another.

    Thread safety: any number of threads may call the methods of one stream; each call waits for the one before. The
    order of the chunks is that of the calls, so one thread should push. Different streams do not wait for each other.

    Example:
        with vocoder.open_stream() as stream:
            for chunk in mel_chunks:
                play(stream.push(chunk))
            play(stream.flush())
    """

    def __init__(
        self, stream: ChunkStream, convention: MelConvention, config: StreamingConfig, prosody: Prosody
    ) -> None:
        """Use `Vocoder.open_stream`."""
        self._stream = stream
        if stream.chunk_frames is not None:
            most = max(config.max_chunk_frames, stream.chunk_frames)
            config = dataclasses.replace(
                config, chunk_frames=stream.chunk_frames, adaptive=False, max_chunk_frames=most
            )
        self._convention = convention
        self._config = config
        self._phase: _Phase = "open"
        self._lock = threading.RLock()
        self._size = ChunkSize(config)
        self._prosody = prosody
        self._shaper = ProsodyStream(prosody, convention.n_mels)
        self._clock = StreamClock(prosody.made_rate_hz, convention.hop_length, config.max_buffered_ms)
        self._waiting = np.empty((convention.n_mels, 0), np.float32)
        self._range = RangeWatch(convention)

    @property
    def delay_samples(self) -> int:
        """Samples by which the audio lags behind the mel, without the gathering of chunks and the change of pitch."""
        return self._stream.delay_samples

    @property
    def statistics(self) -> StreamStatistics:
        """Timing of the utterance so far."""
        with self._lock:
            return self._clock.statistics(self._size.frames)

    def push(self, mel: NDArray[np.float32] | MelSpectrogram) -> AudioBuffer:
        """Take the next frames.

        Args:
            mel: Float32 [n_mels, frames] or [1, n_mels, frames] with any number of frames, including none.

        Returns:
            Audio that is finished by now, float32 [1, samples]; often no samples at first.

        Raises:
            InputError: The chunk has another convention, type or number of bands, or values that are not finite; it was
                not taken, and the stream must be reset. Or the stream has ended, has failed or is closed.
            ProviderError: The provider failed; the stream must be reset.
        """
        with self._lock:
            self._require_open()
            try:
                values = check_chunk(mel, self._convention)
                self._range.add(values)
                return self._audio(self._gathered(self._shaper.push(values)), last=False)
            except Exception:
                self._phase = "failed"
                raise

    def flush(self) -> AudioBuffer:
        """End the utterance; a `MelRangeWarning` states that the range of its values suggests another convention.

        Returns:
            Rest of the utterance's audio, float32 [1, samples]; with the audio of `push` exactly as long as that of
            `vocode`.

        Raises:
            InputError: The stream has ended already, has failed or is closed.
            ProviderError: The provider failed; the stream must be reset.
        """
        with self._lock:
            self._require_open()
            try:
                pieces = self._gathered(self._shaper.finish())
                pieces += self._runs(self._waiting, self._waiting.shape[1] or 1)
                self._waiting = self._waiting[:, :0]
                started_s = time.perf_counter()
                rest = self._stream.finish()
                self._clock.ran(started_s, time.perf_counter(), 0, rest.shape[-1])
            except Exception:
                self._phase = "failed"
                raise
            self._phase = "ended"
            hint = self._range.hint()
            if hint is not None:
                warnings.warn(hint, MelRangeWarning, stacklevel=2)
            return self._audio([*pieces, rest], last=True)

    def reset(self) -> None:
        """Begin a new utterance; unfinished audio is lost.

        Raises:
            InputError: The stream is closed.
        """
        with self._lock:
            if self._phase == "closed":
                raise InputError(_REFUSALS["closed"])
            self._stream.reset()
            self._clock.reset()
            self._shaper = ProsodyStream(self._prosody, self._convention.n_mels)
            self._size = ChunkSize(self._config)
            self._waiting = self._waiting[:, :0]
            self._range = RangeWatch(self._convention)
            self._phase = "open"

    def close(self) -> None:
        """Free the stream's state. Closing twice is harmless."""
        with self._lock:
            if self._phase != "closed":
                self._phase = "closed"
                del self._stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._phase != "open":
            raise InputError(_REFUSALS[self._phase])

    def _gathered(self, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run on as many whole chunks as there are; the remaining frames wait."""
        if self._size.frames is None:
            return self._runs(values, values.shape[1] or 1)
        if self._waiting.shape[1]:
            values = np.concatenate((self._waiting, values), axis=1)
        pieces = []
        while values.shape[1] >= self._size.frames:
            taken = self._size.frames
            pieces += self._runs(values[:, :taken], taken)
            values = values[:, taken:]
        # What the caller handed over may change afterwards.
        self._waiting = values.copy()
        return pieces

    def _runs(self, values: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
        size = min(size, self._stream.max_chunk_frames)
        pieces = []
        for start in range(0, values.shape[1], size):
            chunk = values[:, start : start + size]
            started_s = time.perf_counter()
            audio = self._stream.push(chunk)
            in_time = self._clock.ran(started_s, time.perf_counter(), chunk.shape[1], audio.shape[-1])
            self._size.ran(in_time)
            if audio.shape[-1]:
                pieces.append(audio.copy())
        return pieces

    def _audio(self, pieces: list[NDArray[np.float32]], *, last: bool) -> AudioBuffer:
        samples = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.float32), *pieces])
        shaped = self._shaper.audio(samples, last=last)
        return AudioBuffer(shaped[np.newaxis], self._convention.sample_rate)


class ChunkSize:
    """Number of frames to gather for a run: fixed, or adapted to the deadlines that are met.

    An adaptive size doubles after two misses within eight runs and halves after 64 runs without one, down to the size
    that it began with.

    Args:
        config: Settings of the stream.

    Attributes:
        frames: Mel frames to gather before the next run; None runs on every push.
    """

    def __init__(self, config: StreamingConfig) -> None:
        """Start from the configured size."""
        self.frames = config.chunk_frames
        self._config = config
        self._calm = 0
        self._misses: list[int] = []
        self._runs = 0

    def ran(self, in_time: bool) -> None:
        """Adapt the size to a run that met or missed its deadline."""
        least, most = self._config.chunk_frames, self._config.max_chunk_frames
        if not self._config.adaptive or self.frames is None or least is None:
            return
        self._runs += 1
        self._calm = self._calm + 1 if in_time else 0
        if not in_time:
            self._misses = [run for run in self._misses if self._runs - run < _REMEMBERED_RUNS]
            self._misses.append(self._runs)
            if len(self._misses) >= _MISSES_TO_GROW:
                self.frames = min(most, 2 * self.frames)
                self._misses = []
        elif self._calm >= _CALM_RUNS_TO_SHRINK:
            self.frames = max(least, self.frames // 2)
            self._calm = 0
