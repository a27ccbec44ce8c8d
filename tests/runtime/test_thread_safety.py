"""One vocoder, several threads: what the docstring of `Vocoder` promises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers import random_mels, streamed
from voirs_vocoder.runtime import ArrayMelSource, StreamingConfig, Vocoder, VocodingConfig

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

THREADS = 4
ROUNDS = 6

Call = Callable[[Vocoder, NDArray[np.float32], VocodingConfig], NDArray[np.float32]]


def whole(vocoder, mel, config):
    return vocoder.vocode(mel, config).samples[0]


def windowed(vocoder, mel, config):
    source = ArrayMelSource(mel, vocoder.metadata.convention)
    return np.concatenate([piece.samples[0] for piece in vocoder.vocode_source(source, config)])


def batched(vocoder, mel, config):
    return vocoder.vocode_batch([mel, mel[:, :5]], config)[0].samples[0]


def in_pieces(vocoder, mel, config):
    return streamed(vocoder, mel, [7, mel.shape[1] - 7], config, StreamingConfig(chunk_frames=None))


CALLS: tuple[Call, ...] = (whole, windowed, batched, in_pieces)


@pytest.mark.parametrize(
    ("artifact", "options"),
    [("tiny_artifact", {}), ("tiny_waveglow", {"denoise": 0.3}), ("tiny_diffwave", {"sampler": "ddpm"})],
)
def test_concurrent_calls_of_every_kind_each_get_the_audio_that_they_get_alone(artifact, options, request):
    root = request.getfixturevalue(artifact)
    seeded = {"seed": 1} if options else {}
    with Vocoder.load(root) as vocoder:
        n_mels = vocoder.metadata.convention.n_mels
        mels = random_mels(range(12, 12 + ROUNDS), n_mels=n_mels)
        configs = [
            VocodingConfig(**options, **{name: value + number for name, value in seeded.items()})
            for number in range(ROUNDS)
        ]
        # Another vocoder makes the references, so that what is loaded lazily is loaded while the threads run.
        with Vocoder.load(root) as alone:
            wanted = [alone.vocode(mel, config).samples[0] for mel, config in zip(mels, configs, strict=True)]
        barrier = threading.Barrier(THREADS)

        def run(worker: int) -> None:
            barrier.wait()
            for number in range(ROUNDS):
                call = CALLS[(worker + number) % len(CALLS)]
                audio = call(vocoder, mels[number], configs[number])
                np.testing.assert_allclose(audio, wanted[number], rtol=0, atol=1e-5)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(run, range(THREADS)))
