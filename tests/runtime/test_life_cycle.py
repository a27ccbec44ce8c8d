"""Vocoders that are closed, shared, forked and used from one event loop after another."""

from __future__ import annotations

import asyncio
import os
import threading

import numpy as np
import pytest

from voirs_vocoder.runtime import AsyncVocoder, BatchError, InputError, ProviderError, Vocoder, VocodingConfig

MEL = np.full((10, 40), -5.0, np.float32)


@pytest.fixture
def vocoder(tiny_artifact):
    with Vocoder.load(tiny_artifact) as loaded:
        yield loaded


def test_closing_twice_is_harmless_and_use_afterwards_is_one_clear_error(tiny_artifact):
    vocoder = Vocoder.load(tiny_artifact)
    stream = vocoder.open_stream()
    stream.push(MEL)
    pieces = vocoder.vocode_stream(iter([MEL]))
    vocoder.close()
    vocoder.close()
    for use in (
        lambda: vocoder.vocode(MEL),
        lambda: vocoder.vocode_batch([MEL]),
        lambda: vocoder.open_stream(),
        lambda: next(pieces),
        lambda: stream.push(MEL),
    ):
        with pytest.raises((InputError, BatchError), match="closed"):
            use()


def test_close_waits_for_the_calls_of_other_threads(tiny_artifact):
    for _ in range(5):
        vocoder = Vocoder.load(tiny_artifact)
        wanted = vocoder.vocode(MEL).samples
        results, begun = [], threading.Event()

        def work(vocoder=vocoder, results=results, begun=begun):
            try:
                while True:
                    results.append(vocoder.vocode(MEL).samples)
                    begun.set()
            except InputError as error:
                results.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait()
        vocoder.close()
        for thread in threads:
            thread.join(10)
        assert all(isinstance(result, InputError) or np.array_equal(result, wanted) for result in results)


def test_a_configuration_of_another_type_fails_alone(vocoder):
    with pytest.raises(InputError, match="config must be a VocodingConfig or None, got dict"):
        vocoder.vocode(MEL, {"speed": 2})
    with pytest.raises(BatchError) as raised:
        vocoder.vocode_batch([MEL, MEL, MEL], [None, {"speed": 2}, VocodingConfig()])
    assert list(raised.value.failures) == [1]
    assert np.array_equal(raised.value.audios[0].samples, vocoder.vocode(MEL).samples)

    async def together():
        return await asyncio.gather(
            vocoder.aio.vocode(MEL), vocoder.aio.vocode(MEL, {"speed": 2}), vocoder.aio.vocode(MEL),
            return_exceptions=True,
        )  # fmt: skip

    first, bad, last = asyncio.run(together())
    assert isinstance(bad, InputError)
    assert np.array_equal(first.samples, last.samples)


def test_one_event_loop_after_another_may_use_a_vocoder(vocoder):
    async def use():
        audio = await vocoder.aio.vocode(MEL)
        pieces = [piece async for piece in vocoder.aio.vocode_stream([MEL])]
        return audio.samples, sum(piece.samples.shape[1] for piece in pieces)

    results = [asyncio.run(asyncio.wait_for(use(), 20)) for _ in range(3)]
    assert all(np.array_equal(samples, results[0][0]) for samples, _ in results)
    assert {count for _, count in results} == {results[0][0].shape[1]}


def test_two_event_loops_at_once_are_refused(vocoder):
    aio = AsyncVocoder(vocoder)

    async def other():
        with pytest.raises(InputError, match="one event loop at a time"):
            await aio.vocode(MEL)

    async def first():
        await aio.vocode(MEL)
        await asyncio.to_thread(lambda: asyncio.run(other()))
        await aio.close()

    asyncio.run(asyncio.wait_for(first(), 20))


def test_a_thousand_tasks_canceled_at_random_leave_nothing_behind(vocoder):
    chance = np.random.default_rng(5)

    async def use():
        tasks = [asyncio.create_task(vocoder.aio.vocode(MEL)) for _ in range(1000)]
        for index in chance.permutation(1000)[:600]:
            tasks[index].cancel()
            if index % 50 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        again = await vocoder.aio.vocode(MEL)
        return results, again.samples, len(asyncio.all_tasks())

    results, wanted, left = asyncio.run(asyncio.wait_for(use(), 60))
    assert all(
        isinstance(result, asyncio.CancelledError) or np.array_equal(result.samples, wanted)
        for result in results
    )
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) >= 500
    # This task, the one that waits for it, and the runner that waits for requests.
    assert left <= 3


def test_sixty_four_streams_over_four_threads_equal_the_offline_pass(vocoder):
    chance = np.random.default_rng(6)
    mels = [chance.uniform(-10, 1, (10, int(chance.integers(1, 60)))).astype(np.float32) for _ in range(64)]
    wanted = [vocoder.vocode(mel).samples for mel in mels]
    streams = [vocoder.open_stream() for _ in mels]
    made: list[list[np.ndarray]] = [[] for _ in mels]

    def work(numbers):
        for start in range(0, 60, 7):
            for number in numbers:
                made[number].append(streams[number].push(mels[number][:, start : start + 7]).samples)
        for number in numbers:
            made[number].append(streams[number].flush().samples)

    threads = [threading.Thread(target=work, args=(range(first, 64, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, samples in enumerate(wanted):
        np.testing.assert_allclose(np.concatenate(made[number], axis=1), samples, atol=1e-5)


def test_a_fork_is_asked_to_load_the_artifact_itself(vocoder, tiny_artifact):
    vocoder.vocode(MEL)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                vocoder.vocode(MEL)
            except ProviderError as error:
                status = 0 if "load the artifact in each process" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    vocoder.vocode(MEL)
