"""A vocoder that serves for days: memory stays flat, and what many tasks and threads get is what each gets alone."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from voirs_vocoder.runtime import SessionConfig, Vocoder

pytestmark = pytest.mark.slow

CALLS, STREAMS = 2000, 500
# What the allocator holds back differs from run to run; a leak of one small buffer per call is more.
GROWTH_BYTES = 32 << 20


@pytest.fixture(scope="module")
def vocoder(shipped_checkpoint, tmp_path_factory):
    """The shipped HiFi-GAN V2."""
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    root = tmp_path_factory.mktemp("artifacts") / "shipped"
    export_artifact(ExportRequest("hifigan", shipped_checkpoint, None, root, batch=False))
    with Vocoder.load(root, session=SessionConfig(threads=1)) as loaded:
        yield loaded


def mels(seed, count, longest):
    chance = np.random.default_rng(seed)
    lengths = chance.integers(1, longest, count)
    return [np.clip(chance.normal(-5, 2, (80, length)), -11, 1).astype(np.float32) for length in lengths]


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(work, rounds):
    """Bytes by which the process grew over the last three quarters of the rounds."""
    for _ in range(rounds // 4):
        work()
    gc.collect()
    before = resident_bytes()
    for _ in range(rounds - rounds // 4):
        work()
    gc.collect()
    return resident_bytes() - before


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the system does not state resident memory there"
)
def test_memory_is_flat_over_two_thousand_calls_of_random_lengths(vocoder):
    inputs = iter(mels(1, CALLS, 24))
    assert growth(lambda: vocoder.vocode(next(inputs)), CALLS) < GROWTH_BYTES


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the system does not state resident memory there"
)
def test_memory_is_flat_over_five_hundred_streams(vocoder):
    inputs = iter(mels(2, STREAMS, 24))

    def stream():
        mel = next(inputs)
        with vocoder.open_stream() as opened:
            opened.push(mel)
            if mel.shape[1] % 2:
                opened.flush()

    assert growth(stream, STREAMS) < GROWTH_BYTES


def test_a_thousand_tasks_canceled_at_random_leave_the_others_right(vocoder):
    chance = np.random.default_rng(3)
    inputs = mels(4, 20, 12)
    wanted = [vocoder.vocode(mel).samples for mel in inputs]

    async def use():
        tasks = [asyncio.create_task(vocoder.aio.vocode(inputs[number % 20])) for number in range(1000)]
        for index in chance.permutation(1000)[:600]:
            tasks[index].cancel()
            if index % 50 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return results, len(asyncio.all_tasks())

    results, left = asyncio.run(asyncio.wait_for(use(), 120))
    for number, result in enumerate(results):
        assert isinstance(result, asyncio.CancelledError) or np.array_equal(
            result.samples, wanted[number % 20]
        )
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) >= 500
    # This task, the one that waits for it, and the runner that waits for requests.
    assert left <= 3


def test_sixty_four_streams_over_four_threads_equal_the_offline_pass(vocoder):
    inputs = mels(5, 64, 40)
    wanted = [vocoder.vocode(mel).samples for mel in inputs]
    streams = [vocoder.open_stream() for _ in inputs]
    made: list[list[np.ndarray]] = [[] for _ in inputs]

    def work(numbers):
        for start in range(0, 40, 7):
            for number in numbers:
                made[number].append(streams[number].push(inputs[number][:, start : start + 7]).samples)
        for number in numbers:
            made[number].append(streams[number].flush().samples)

    threads = [threading.Thread(target=work, args=(range(first, 64, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, samples in enumerate(wanted):
        np.testing.assert_allclose(np.concatenate(made[number], axis=1), samples, atol=1e-5)
