"""A vocoder for asyncio: it never blocks the event loop, bounds every queue, and frees what is canceled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.batch import BatchError
from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel import MelSpectrogram
from voirs_vocoder.runtime.streaming import StreamingConfig, VocoderStream

__all__ = ["AioConfig", "AsyncVocoder", "BlockingVocoder"]

_Mel = NDArray[np.float32] | MelSpectrogram
_Result = TypeVar("_Result")


class BlockingVocoder(Protocol):
    """The methods of a vocoder that `AsyncVocoder` calls, from several threads at once. `Vocoder` has them."""

    def vocode_batch(
        self,
        mels: Sequence[_Mel],
        configs: VocodingConfig | Sequence[VocodingConfig | None] | None = None,
    ) -> list[AudioBuffer]:
        """Synthesize several utterances; see `Vocoder.vocode_batch`."""
        ...

    def open_stream(
        self, config: VocodingConfig | None = None, streaming: StreamingConfig | None = None
    ) -> VocoderStream:
        """Begin a live utterance; see `Vocoder.open_stream`."""
        ...


@dataclass(frozen=True)
class AioConfig:
    """How requests are queued.

    Attributes:
        workers: Number of threads that run the vocoder, at least 1. A graph uses every core by itself
            (`SessionConfig.threads`), so more than one worker helps only with fewer threads per graph.
        max_pending: Most requests that wait in the queue of `vocode`, at least 1; with a full queue, a further call
            waits for a free place.
        max_batch: Most requests that run as one batch, at least 1.
        batch_window_ms: Time that a request waits for others to run in the same batch, in [0, 10000] ms; 0 batches only
            requests that are waiting already.
        stream_chunks: Most chunks of audio that wait for the consumer of a stream, at least 1.

    Raises:
        InputError: A value is out of range.
    """

    workers: int = 1
    max_pending: int = 64
    max_batch: int = 8
    batch_window_ms: float = 2.0
    stream_chunks: int = 4

    def __post_init__(self) -> None:
        """Check that each value is in its range."""
        for name in ("workers", "max_pending", "max_batch", "stream_chunks"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.batch_window_ms <= 10_000.0:
            raise InputError(f"batch_window_ms must be in [0, 10000], got {self.batch_window_ms}")


@dataclass(frozen=True, eq=False)
class _Request:
    mel: _Mel
    config: VocodingConfig | None
    answer: asyncio.Future[AudioBuffer]


class AsyncVocoder:
    """A vocoder for one event loop at a time. Close it, or use it as an async context manager.

    Thread safety: all methods are for the thread of one event loop. When that loop is closed, as at the end of
    `asyncio.run`, another one may use this object; requests that the first one left behind are dropped. So does a loop
    of a process that was forked from this one. The wrapped vocoder may serve other threads.

    Example:
        async with AsyncVocoder(vocoder) as aio:
            audio = await aio.vocode(mel)
            async for piece in aio.vocode_stream(mel_chunks):
                ...
    """

    def __init__(self, vocoder: BlockingVocoder, config: AioConfig | None = None) -> None:
        """Wrap a vocoder; nothing runs before the first request.

        Args:
            vocoder: Loaded vocoder, which stays open when this object is closed.
            config: Sizes of the queues; None uses the defaults.
        """
        self._vocoder = vocoder
        self._config = config or AioConfig()
        self._pool = self._new_pool()
        self._queue: asyncio.Queue[_Request] = asyncio.Queue(self._config.max_pending)
        self._runners: list[asyncio.Task[None]] = []
        self._streams: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()

    async def vocode(self, mel: _Mel, config: VocodingConfig | None = None) -> AudioBuffer:
        """Synthesize one utterance; requests that wait at the same time run as one batch. See `Vocoder.vocode`.

        Args:
            mel: Float32 [n_mels, frames] or [1, n_mels, frames], or a `MelSpectrogram`.
            config: Settings of the utterance; None uses the defaults.

        Returns:
            Float32 audio [1, samples].

        Raises:
            InputError: The mel or a setting does not suit the model, or this object is closed.
            ProviderError: The provider failed.
            asyncio.CancelledError: The task was canceled; a request that has not begun does not run.
        """
        self._enter_loop()
        if not self._runners:
            self._runners = [asyncio.create_task(self._run()) for _ in range(self._config.workers)]
        answer: asyncio.Future[AudioBuffer] = asyncio.get_running_loop().create_future()
        # Waits here while the queue is full: that is the backpressure.
        await self._queue.put(_Request(mel, config, answer))
        return await answer

    async def vocode_batch(
        self,
        mels: Sequence[_Mel],
        configs: VocodingConfig | Sequence[VocodingConfig | None] | None = None,
    ) -> list[AudioBuffer]:
        """Synthesize several utterances in a thread. See `Vocoder.vocode_batch`.

        Args:
            mels: Mel of each utterance, as for `vocode`.
            configs: Settings for all utterances, or one item for each; None uses the defaults.

        Returns:
            Audio of each utterance in order.

        Raises:
            BatchError: Some utterances failed; the error holds the audio of the others.
            InputError: There are not as many configurations as mels, or this object is closed.
        """
        self._enter_loop()
        return await self._threaded(lambda: self._vocoder.vocode_batch(mels, configs))

    async def vocode_stream(
        self,
        mel_chunks: AsyncIterable[_Mel] | Iterable[_Mel],
        config: VocodingConfig | None = None,
        streaming: StreamingConfig | None = None,
    ) -> AsyncIterator[AudioBuffer]:
        """Synthesize one utterance from chunks. See `Vocoder.vocode_stream`.

        A consumer that is slow, or stops, holds up the source after a few chunks. Leaving the loop early (or calling
        `aclose`) cancels the work under way and frees the stream's state.

        Args:
            mel_chunks: Consecutive mel chunks, read in the event loop; an ordinary iterable must not block.
            config: Settings of the utterance; None uses the defaults.
            streaming: Chunks and latency of the stream; None uses the defaults.

        Yields:
            Consecutive pieces of the audio, float32 [1, samples].

        Raises:
            InputError: A chunk or a setting does not suit the model, or this object is closed.
            ProviderError: The artifact has no stream graph, or the provider failed.
        """
        self._enter_loop()
        ready: asyncio.Queue[AudioBuffer] = asyncio.Queue(self._config.stream_chunks)
        pump = asyncio.create_task(self._pump(mel_chunks, config, streaming, ready))
        self._streams.add(pump)
        pump.add_done_callback(self._streams.discard)
        try:
            while not (pump.done() and ready.empty()):
                taking = asyncio.create_task(ready.get())
                try:
                    await asyncio.wait((taking, pump), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # A canceled `get` leaves its item in the queue.
                    finished = taking.done()
                    if not finished:
                        taking.cancel()
                if finished:
                    yield taking.result()
            if pump.cancelled():
                self._require_open()
            await pump
        finally:
            pump.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await pump

    async def close(self) -> None:
        """Refuse new requests, finish waiting ones, cancel streams, and stop the threads. Closing twice is harmless."""
        if self._closed:
            return
        self._enter_loop()
        self._closed = True
        for stream in list(self._streams):
            stream.cancel()
        if self._runners:
            await self._queue.join()
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, *self._streams, return_exceptions=True)
        # What still runs in a thread ends by itself within a chunk or an utterance.
        await asyncio.to_thread(self._pool.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("the async vocoder is closed; make another one")

    def _enter_loop(self) -> None:
        """Serve the running event loop.

        Raises:
            InputError: This object is closed, or it serves another event loop that is still open.
        """
        self._require_open()
        loop = asyncio.get_running_loop()
        if self._process != os.getpid():
            # A fork has neither the threads of the pool nor the tasks of the loop.
            self._process = os.getpid()
            self._pool = self._new_pool()
            self._drop_requests()
            self._loop = None
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                raise InputError(
                    "an async vocoder serves one event loop at a time, got a call from a second one; make an "
                    "AsyncVocoder for each"
                )
            # The tasks of a closed loop never run again, and what they hold belongs to it.
            self._drop_requests()
        self._loop = loop

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._config.workers, thread_name_prefix="voirs-vocoder")

    def _drop_requests(self) -> None:
        self._queue = asyncio.Queue(self._config.max_pending)
        self._runners, self._streams = [], set()

    async def _threaded(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _run(self) -> None:
        """Run the waiting requests as one batch, again and again."""
        while True:
            requests = [await self._queue.get()]
            try:
                await self._gather(requests)
                wanted = [request for request in requests if not request.answer.done()]
                if wanted:
                    await self._answer(wanted)
            finally:
                for _ in requests:
                    self._queue.task_done()

    async def _gather(self, requests: list[_Request]) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._config.batch_window_ms / 1e3
        while len(requests) < self._config.max_batch:
            left_s = deadline_s - loop.time()
            try:
                if left_s <= 0:
                    requests.append(self._queue.get_nowait())
                else:
                    requests.append(await asyncio.wait_for(self._queue.get(), left_s))
            except (asyncio.QueueEmpty, TimeoutError):
                return

    async def _answer(self, requests: list[_Request]) -> None:
        mels = [request.mel for request in requests]
        configs = [request.config for request in requests]
        try:
            audios: Sequence[AudioBuffer | None]
            audios = await self._threaded(lambda: self._vocoder.vocode_batch(mels, configs))
            failures: dict[int, Exception] = {}
        except BatchError as error:
            audios, failures = error.audios, dict(error.failures)
        except Exception as error:  # a request must get an answer after every failure
            audios, failures = [None] * len(requests), dict.fromkeys(range(len(requests)), error)
        for position, request in enumerate(requests):
            if request.answer.done():
                continue
            audio = audios[position]
            if audio is None:
                request.answer.set_exception(failures[position])
            else:
                request.answer.set_result(audio)

    async def _pump(
        self,
        mel_chunks: AsyncIterable[_Mel] | Iterable[_Mel],
        config: VocodingConfig | None,
        streaming: StreamingConfig | None,
        ready: asyncio.Queue[AudioBuffer],
    ) -> None:
        """Move chunks from the source through a thread to the queue; a full queue holds up the source."""
        stream = None
        try:
            stream = await self._threaded(lambda: self._vocoder.open_stream(config, streaming))
            opened = stream
            async for chunk in _async_iterated(mel_chunks):
                audio = await self._threaded(partial(opened.push, chunk))
                if audio.samples.size:
                    await ready.put(audio)
            audio = await self._threaded(opened.flush)
            if audio.samples.size:
                await ready.put(audio)
        finally:
            if stream is not None:
                # A chunk may be under way in a thread; closing waits for it there, not here.
                self._pool.submit(stream.close)


async def _async_iterated(chunks: AsyncIterable[_Mel] | Iterable[_Mel]) -> AsyncIterator[_Mel]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk
