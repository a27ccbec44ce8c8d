"""Vocoders that are closed, shared, forked and used from one event loop after another."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import threading
import traceback

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


def test_a_copy_of_a_vocoder_is_refused_in_words(vocoder):
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="load the artifact in each process"):
            copied(vocoder)


def in_fork(check):
    """Exit status of a fork that runs a check: 0 where it holds; a fork that hangs is ended by SIGALRM."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            status = 0 if check() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            # As multiprocessing ends its children: ONNX Runtime's own threads did not come along to be joined.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_computes_the_same_audio(vocoder):
    expected = vocoder.vocode(MEL).samples
    assert np.array_equal(asyncio.run(vocoder.aio.vocode(MEL)).samples, expected)

    def check():
        same = np.array_equal(vocoder.vocode(MEL).samples, expected)
        batch = np.array_equal(vocoder.vocode_batch([MEL])[0].samples, expected)
        awaited = np.array_equal(asyncio.run(vocoder.aio.vocode(MEL)).samples, expected)
        streamed = np.concatenate([piece.samples for piece in vocoder.vocode_stream([MEL])], axis=1)
        vocoder.close()
        gc.collect()
        return same and batch and awaited and np.allclose(streamed, expected, atol=1e-5)

    assert in_fork(check) == 0
    assert np.array_equal(vocoder.vocode(MEL).samples, expected)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_a_fork_computes_the_same_audio(vocoder):
    expected = vocoder.vocode(MEL).samples

    def check():
        return np.array_equal(vocoder.vocode(MEL).samples, expected)

    assert in_fork(lambda: check() and in_fork(check) == 0) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_stream_from_before_a_fork_is_refused_there_and_goes_on_here(vocoder):
    whole = vocoder.vocode(MEL).samples
    stream = vocoder.open_stream()
    pieces = [stream.push(MEL[:, :20]).samples]

    def check():
        try:
            stream.push(MEL[:, 20:])
        except ProviderError as error:
            return "before this process was forked" in str(error)
        return False

    assert in_fork(check) == 0
    pieces += [stream.push(MEL[:, 20:]).samples, stream.flush().samples]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_provider_that_does_not_survive_a_fork_says_so(tiny_artifact):
    pytest.importorskip("openvino")

    def check(vocoder):
        try:
            vocoder.vocode(MEL)
        except ProviderError as error:
            return "load the artifact in each process" in str(error)
        return False

    with Vocoder.load(tiny_artifact, provider="openvino") as vocoder:
        vocoder.vocode(MEL)
        assert in_fork(lambda: check(vocoder)) == 0
        vocoder.vocode(MEL)
