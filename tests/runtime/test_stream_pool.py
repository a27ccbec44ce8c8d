"""Streams that run together: each gives what it gives alone, whenever the others come and go."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import cut, random_mel, streamed
from voirs_vocoder.runtime import (
    InputError,
    ProviderError,
    SessionConfig,
    StreamingConfig,
    Vocoder,
    VocodingConfig,
)
from voirs_vocoder.runtime.streaming.stream_pool import StreamPool

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

TOGETHER = SessionConfig(stream_rows=16)


@pytest.fixture
def rows(monkeypatch):
    """Number of chunks of each run, filled in while streams run."""
    counts = []
    run = StreamPool._run_rows

    def counted(pool, chunks):
        counts.append(len(chunks))
        run(pool, chunks)

    monkeypatch.setattr(StreamPool, "_run_rows", counted)
    return counts


def test_64_streams_over_4_threads_equal_their_offline_passes(vocoder, tiny_artifact, rows):
    mels = [random_mel(vocoder, 20 + 3 * seed, seed) for seed in range(64)]
    audios = [[] for _ in mels]
    failures = []
    with Vocoder.load(tiny_artifact, session=TOGETHER) as pooled:

        def speak(mine):
            try:
                streams = {number: pooled.open_stream() for number in mine}
                chunks = {number: cut(mels[number], [5, 16, 1 + number % 20]) for number in mine}
                while streams:
                    for number in list(streams):
                        if chunks[number]:
                            audios[number].append(streams[number].push(chunks[number].pop(0)).samples)
                        else:
                            audios[number].append(streams.pop(number).flush().samples)
            except Exception as error:  # a thread's error would be lost
                failures.append(error)

        threads = [threading.Thread(target=speak, args=(range(first, 64, 4),)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures
    for mel, audio in zip(mels, audios, strict=True):
        np.testing.assert_allclose(
            np.concatenate(audio, axis=1), vocoder.vocode(mel).samples, rtol=0, atol=1e-5
        )
    assert max(rows) > 1


@pytest.fixture(scope="module", params=["tiny_artifact", "tiny_waveglow", "tiny_diffwave"])
def pair(request):
    root = request.getfixturevalue(request.param)
    with Vocoder.load(root, session=TOGETHER) as pooled, Vocoder.load(root) as plain:
        yield pooled, plain


@settings(deadline=None, max_examples=10)
@given(
    frames=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    chunk_frames=st.integers(1, 20),
)
def test_a_pooled_stream_equals_one_by_itself(pair, frames, sizes, chunk_frames):
    pooled, plain = pair
    mel = random_mel(plain, frames, frames)
    streaming = StreamingConfig(chunk_frames=chunk_frames)
    config = VocodingConfig(seed=3) if "seed" in plain._driver.settings else None
    audio = streamed(pooled, mel, sizes, config, streaming)
    np.testing.assert_allclose(audio, streamed(plain, mel, sizes, config, streaming), rtol=0, atol=1e-5)


def test_audio_comes_as_early_as_the_stated_delay(pair):
    pooled, _ = pair
    hop_length = pooled.metadata.hop_length
    with pooled.open_stream(None, StreamingConfig(chunk_frames=4)) as stream:
        heard = 0
        for number in range(1, 40):
            heard += stream.push(random_mel(pooled, 4)).samples.shape[1]
            assert heard == max(0, 4 * number * hop_length - stream.delay_samples)


def test_a_failure_of_one_stream_leaves_the_others_as_they_are(vocoder, tiny_artifact, monkeypatch, rows):
    mels = [random_mel(vocoder, 8, seed) for seed in range(4)]
    mels[2][0, 5] = 77.0
    with Vocoder.load(tiny_artifact, session=TOGETHER) as pooled:
        streams = [pooled.open_stream(None, StreamingConfig(chunk_frames=8)) for _ in mels]
        pool = pooled._driver._streams._pools["stream"]
        bind = pool.graph.session.bind

        def failing(inputs, outputs):
            run = bind(inputs, outputs)

            def checked():
                if (inputs["mel"] == 77.0).any():
                    raise ProviderError("the device is lost")
                run()

            return checked

        monkeypatch.setattr(pool.graph.session, "bind", failing)
        results = [None] * 4

        def push(number):
            try:
                results[number] = streams[number].push(mels[number]).samples
            except ProviderError as error:
                results[number] = str(error)

        threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
        # As if a run were under way: all four chunks form the next one.
        pool._is_running = True
        for thread in threads:
            thread.start()
        while len(pool._waiting) < 4:
            time.sleep(0.001)
        with pool._changed:
            pool._is_running = False
            pool._changed.notify_all()
        for thread in threads:
            thread.join(60)
        assert rows == [4, 1, 1, 1, 1]
        assert results[2] == "the device is lost"
        for number in (0, 1, 3):
            audio = np.concatenate((results[number], streams[number].flush().samples), axis=1)
            np.testing.assert_allclose(audio, vocoder.vocode(mels[number]).samples, rtol=0, atol=1e-5)


def test_streams_that_cannot_share_a_chunk_length_run_by_themselves(vocoder, tiny_artifact, rows):
    mel = random_mel(vocoder, 30)
    with Vocoder.load(tiny_artifact, session=TOGETHER) as pooled:
        for streaming in (StreamingConfig(chunk_frames=None), StreamingConfig(adaptive=True)):
            np.testing.assert_allclose(
                streamed(pooled, mel, [7], None, streaming), vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5
            )
    assert rows == []


@pytest.mark.parametrize("value", [0, 257])
def test_the_number_of_rows_is_bounded(value):
    with pytest.raises(InputError, match=f"stream_rows must be between 1 and 256, got {value}"):
        SessionConfig(stream_rows=value)
