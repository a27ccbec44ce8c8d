"""asyncio: micro-batches, backpressure, cancellation, and a shutdown that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

from tests.helpers import random_mels
from voirs_vocoder.runtime import (
    AioConfig,
    AsyncVocoder,
    BatchError,
    InputError,
    StreamingConfig,
    Vocoder,
    VocodingConfig,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning"),
    pytest.mark.slow,
]


def test_concurrent_requests_run_in_few_batches_and_each_gets_its_own_audio(vocoder, monkeypatch):
    mels = random_mels([5, 9, 30, 2, 7, 11, 8, 3, 4])
    sizes: list[int] = []
    original = vocoder.vocode_batch

    def counted(batch, configs=None):
        sizes.append(len(batch))
        return original(batch, configs)

    monkeypatch.setattr(vocoder, "vocode_batch", counted)

    async def run():
        async with AsyncVocoder(vocoder, AioConfig(max_batch=4, batch_window_ms=50)) as aio:
            return await asyncio.gather(*(aio.vocode(mel) for mel in mels))

    for mel, audio in zip(mels, asyncio.run(run()), strict=True):
        np.testing.assert_allclose(audio.samples, vocoder.vocode(mel).samples, rtol=0, atol=1e-5)
    assert sum(sizes) == 9
    assert sizes[0] == 4
    assert max(sizes) <= 4


def test_a_bad_request_fails_alone(vocoder):
    good, bad = random_mels([6, 6])
    bad[0, 0] = np.nan

    async def run():
        async with AsyncVocoder(vocoder, AioConfig(batch_window_ms=20)) as aio:
            return await asyncio.gather(
                aio.vocode(good),
                aio.vocode(bad),
                aio.vocode(good, VocodingConfig(sigma=1.0)),
                return_exceptions=True,
            )

    first, second, third = asyncio.run(run())
    assert first.samples.shape == (1, 96)
    assert isinstance(second, InputError)
    assert "finite" in str(second)
    assert "sigma" in str(third)


def test_a_batch_is_the_vocoders_own(vocoder):
    mels = random_mels([4, 8])
    mels[1][0, 0] = np.inf

    async def run():
        async with AsyncVocoder(vocoder) as aio:
            await aio.vocode_batch(mels)

    with pytest.raises(BatchError, match="utterance 1 of 2"):
        asyncio.run(run())


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_stream_equals_the_offline_pass(vocoder, asynchronous):
    (mel,) = random_mels([70])
    chunks = [mel[:, start : start + 9] for start in range(0, 70, 9)]

    async def source():
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    async def run():
        async with AsyncVocoder(vocoder) as aio:
            pieces = aio.vocode_stream(source() if asynchronous else chunks)
            return [piece.samples[0] async for piece in pieces]

    audio = np.concatenate(asyncio.run(run()))
    np.testing.assert_allclose(audio, vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5)


def test_a_slow_consumer_holds_up_the_source(vocoder):
    (mel,) = random_mels([400])
    taken = 0

    async def source():
        nonlocal taken
        for start in range(0, 400, 4):
            taken += 1
            yield mel[:, start : start + 4]

    async def run():
        config = AioConfig(stream_chunks=2)
        async with AsyncVocoder(vocoder, config) as aio:
            pieces = aio.vocode_stream(source(), streaming=StreamingConfig(chunk_frames=None))
            await anext(pieces)
            await asyncio.sleep(0.3)
            held_at = taken
            rest = [piece async for piece in pieces]
            return held_at, len(rest)

    held_at, rest = asyncio.run(run())
    # The look-ahead, the piece that was taken, two that wait, one under way.
    assert held_at < 20
    assert taken == 100
    assert rest > 80


def test_an_abandoned_stream_is_closed_and_freed(vocoder, monkeypatch):
    (mel,) = random_mels([40])
    opened = []
    original = vocoder.open_stream

    def watched(*arguments):
        stream = original(*arguments)
        opened.append(weakref.ref(stream))
        return stream

    monkeypatch.setattr(vocoder, "open_stream", watched)

    async def endless():
        while True:
            yield mel

    async def run():
        async with AsyncVocoder(vocoder) as aio:
            async for _ in aio.vocode_stream(endless()):
                break
            await asyncio.sleep(0.1)

    asyncio.run(run())
    gc.collect()
    assert [reference() for reference in opened] == [None]


def test_a_cancelled_request_that_has_not_begun_does_not_run(vocoder, monkeypatch):
    mels = random_mels([5, 6])
    ran: list[int] = []
    original = vocoder.vocode_batch
    monkeypatch.setattr(
        vocoder,
        "vocode_batch",
        lambda batch, configs=None: (ran.extend(mel.shape[1] for mel in batch), original(batch, configs))[1],
    )

    async def run():
        async with AsyncVocoder(vocoder, AioConfig(batch_window_ms=100)) as aio:
            kept = asyncio.create_task(aio.vocode(mels[0]))
            dropped = asyncio.create_task(aio.vocode(mels[1]))
            await asyncio.sleep(0.01)
            dropped.cancel()
            await kept
            with pytest.raises(asyncio.CancelledError):
                await dropped

    asyncio.run(run())
    assert ran == [5]


def test_a_full_queue_makes_the_next_request_wait(vocoder):
    (mel,) = random_mels([5])

    async def run():
        async with AsyncVocoder(vocoder, AioConfig(max_pending=2, max_batch=1)) as aio:
            requests = [asyncio.create_task(aio.vocode(mel)) for _ in range(12)]
            deepest = 0
            while not all(request.done() for request in requests):
                deepest = max(deepest, aio._queue.qsize())
                await asyncio.sleep(0)
            await asyncio.gather(*requests)
            return deepest

    assert asyncio.run(run()) <= 2


def test_an_error_of_the_source_or_of_a_chunk_reaches_the_consumer(vocoder):
    (mel,) = random_mels([5])

    async def broken():
        yield mel
        raise RuntimeError("the acoustic model fell over")

    async def run(chunks):
        async with AsyncVocoder(vocoder) as aio:
            async for _ in aio.vocode_stream(chunks):
                pass

    with pytest.raises(RuntimeError, match="fell over"):
        asyncio.run(run(broken()))
    with pytest.raises(InputError, match="10 mel bands"):
        asyncio.run(run([mel[:4]]))


def test_closing_answers_what_waits_refuses_what_comes_and_may_be_repeated(vocoder):
    mels = random_mels([5, 6, 7])

    async def run():
        aio = AsyncVocoder(vocoder, AioConfig(batch_window_ms=30))
        waiting = [asyncio.create_task(aio.vocode(mel)) for mel in mels]
        await asyncio.sleep(0)
        await aio.close()
        await aio.close()
        answers = await asyncio.gather(*waiting)
        with pytest.raises(InputError, match="closed"):
            await aio.vocode(mels[0])
        with pytest.raises(InputError, match="closed"):
            async for _ in aio.vocode_stream([]):
                pass
        return answers

    assert [audio.samples.shape[1] for audio in asyncio.run(run())] == [80, 96, 112]


def test_closing_ends_a_stream_that_somebody_waits_for(vocoder):
    (mel,) = random_mels([40])

    async def silent_after_one():
        yield mel
        await asyncio.Event().wait()

    async def run():
        aio = AsyncVocoder(vocoder)

        async def consume():
            async for _ in aio.vocode_stream(silent_after_one()):
                pass

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0.2)
        await aio.close()
        with pytest.raises(InputError, match="closed"):
            await asyncio.wait_for(consumer, 5)

    asyncio.run(run())


def test_the_vocoder_has_one_of_its_own(tiny_artifact):
    (mel,) = random_mels([5])

    async def run(vocoder):
        audio = await vocoder.aio.vocode(mel)
        await vocoder.aio.close()
        return audio

    with Vocoder.load(tiny_artifact) as vocoder:
        assert asyncio.run(run(vocoder)).samples.shape == (1, 80)


@pytest.mark.parametrize(
    "settings",
    [{"workers": 0}, {"max_pending": 0}, {"max_batch": 0}, {"stream_chunks": 0}, {"batch_window_ms": -1.0}],
    ids=str,
)
def test_impossible_queues_are_refused(settings):
    with pytest.raises(InputError):
        AioConfig(**settings)


def test_asyncio_is_imported_by_the_two_names_that_use_it_alone():
    check = (
        "import sys\n"
        "from voirs_vocoder import runtime\n"
        "for name in sorted({*runtime.__all__} - {'AioConfig', 'AsyncVocoder'}):\n"
        "    getattr(runtime, name)\n"
        "    assert 'asyncio' not in sys.modules, name\n"
    )
    checked = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
