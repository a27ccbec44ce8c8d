"""Live streams at run time: equal to the offline pass, safe to misuse, shared by threads, flat in memory."""

from __future__ import annotations

import json
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers import cut, random_mel, streamed
from voirs_vocoder.runtime import (
    DummyVocoder,
    InputError,
    MelSpectrogram,
    ProviderError,
    StreamingConfig,
    Vocoder,
    VocoderFeature,
    VocodingConfig,
    get_convention,
)
from voirs_vocoder.runtime.streaming.session import ChunkSize
from voirs_vocoder.runtime.streaming.statistics import StreamClock

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")


@given(
    frames=st.integers(1, 80),
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any),
    chunk_frames=st.none() | st.integers(1, 40),
)
@settings(max_examples=40, deadline=None)
def test_any_pieces_give_the_audio_of_the_offline_pass(vocoder, frames, sizes, chunk_frames):
    mel = random_mel(vocoder, frames)
    streaming = StreamingConfig(chunk_frames=chunk_frames, max_chunk_frames=64)
    audio = streamed(vocoder, mel, sizes, streaming=streaming)
    wanted = vocoder.vocode(mel).samples[0]
    assert audio.shape == wanted.shape
    np.testing.assert_allclose(audio, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fixture", "config"),
    [
        ("tiny_waveglow", VocodingConfig(seed=3)),
        ("tiny_waveglow", VocodingConfig(seed=3, sigma=0.9, denoise=0.2)),
        ("tiny_diffwave", VocodingConfig(seed=5)),
        ("tiny_diffwave", VocodingConfig(seed=5, sampler="ddpm", steps=4)),
        ("tiny_diffwave", VocodingConfig(sampler="dpm-solver++", steps=3, temperature=0.7)),
    ],
    ids=["flow", "denoised flow", "fast diffusion", "ddpm", "dpm-solver++"],
)
@pytest.mark.parametrize("sizes", [[7], [1, 30, 4]], ids=str)
def test_flows_and_diffusion_stream_what_they_say_offline(fixture, config, sizes, request):
    with Vocoder.load(request.getfixturevalue(fixture)) as vocoder:
        mel = random_mel(vocoder, 40)
        audio = streamed(vocoder, mel, sizes, config, StreamingConfig(chunk_frames=None))
        np.testing.assert_allclose(audio, vocoder.vocode(mel, config).samples[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_reduced_precisions_stream_like_their_own_offline_pass(tiny_artifact, precision):
    with Vocoder.load(tiny_artifact, precision=precision) as vocoder:
        mel = random_mel(vocoder, 60)
        wanted = vocoder.vocode(mel).samples[0]
        error = streamed(vocoder, mel, [9]) - wanted
        assert 10 * np.log10((wanted**2).sum() / max((error**2).sum(), 1e-30)) >= 50


def test_openvino_streams_what_it_says_offline(tiny_artifact):
    pytest.importorskip("openvino")
    with Vocoder.load(tiny_artifact, provider="openvino") as vocoder:
        mel = random_mel(vocoder, 30)
        np.testing.assert_allclose(
            streamed(vocoder, mel, [8, 3]), vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5
        )


def test_openvino_streams_a_network_whose_past_is_as_long_as_the_chunk_that_it_tries(data_dir, tmp_path):
    """OpenVINO tries an axis of unknown size at 64: less a past of 2 * 32, no output is left."""
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    tiny = data_dir / "diffwave" / "tiny"
    params = json.loads((tiny / "params.json").read_text(encoding="utf-8"))
    config = tmp_path / "params.json"
    config.write_text(json.dumps(params | {"dilation_cycle_length": 6}), encoding="utf-8")
    export_artifact(ExportRequest("diffwave", tiny / "weights.pt", config, tmp_path / "artifact"))
    audio = {}
    for provider in ("cpu", "openvino"):
        with Vocoder.load(tmp_path / "artifact", provider=provider) as vocoder:
            mel = np.random.default_rng(0).uniform(0.0, 1.0, (80, 6)).astype(np.float32)
            audio[provider] = streamed(vocoder, mel, [4, 2])
    np.testing.assert_allclose(audio["openvino"], audio["cpu"], rtol=0, atol=1e-5)


def test_an_utterance_without_frames_has_no_audio(vocoder):
    assert streamed(vocoder, random_mel(vocoder, 0), [1]).size == 0
    with vocoder.open_stream() as stream:
        assert stream.push(np.empty((10, 0), np.float32)).samples.shape == (1, 0)
        assert stream.flush().samples.shape == (1, 0)


def test_audio_comes_as_soon_as_its_look_ahead_is_there(vocoder):
    mel = random_mel(vocoder, 60)
    hop_length = vocoder.metadata.hop_length
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None)) as stream:
        heard = 0
        for frame in range(60):
            heard += stream.push(mel[:, frame : frame + 1]).samples.shape[1]
            assert heard == max(0, (frame + 1) * hop_length - stream.delay_samples)
        assert heard + stream.flush().samples.shape[1] == 60 * hop_length


def test_a_stream_does_not_look_at_a_chunk_after_push_returned(vocoder):
    mel = random_mel(vocoder, 30)
    wanted = vocoder.vocode(mel).samples[0]
    pieces = []
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=16)) as stream:
        for chunk in cut(mel, [5]):
            reused = chunk.copy()
            pieces.append(stream.push(reused).samples[0])
            reused.fill(np.nan)
        pieces.append(stream.flush().samples[0])
    np.testing.assert_allclose(np.concatenate(pieces), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (np.zeros((9, 4), np.float32), "10 mel bands"),
        (np.full((10, 4), np.nan, np.float32), "finite"),
        (np.zeros((10, 4)), "float32"),
        ([1.0, 2.0], "numpy array"),
        (MelSpectrogram(np.zeros((80, 4), np.float32), get_convention("hifigan-22k")), "convention"),
    ],
    ids=["bands", "nan", "float64", "list", "convention"],
)
def test_a_bad_chunk_is_refused_and_the_stream_goes_on_after_a_reset(vocoder, chunk, reason):
    mel = random_mel(vocoder, 40)
    with vocoder.open_stream() as stream:
        stream.push(mel[:, :20])
        with pytest.raises(InputError, match=reason):
            stream.push(chunk)
        with pytest.raises(InputError, match=r"failed before.*reset"):
            stream.push(mel)
        stream.reset()
        audio = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
    np.testing.assert_allclose(audio, vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5)


def test_an_ended_stream_takes_nothing_until_it_is_reset(vocoder):
    mel = random_mel(vocoder, 12)
    with vocoder.open_stream() as stream:
        first = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
        for call in (lambda: stream.push(mel), stream.flush):
            with pytest.raises(InputError, match=r"has ended.*reset"):
                call()
        stream.reset()
        again = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
    np.testing.assert_array_equal(first, again)


def test_closing_twice_is_harmless_and_a_closed_stream_says_so(vocoder):
    stream = vocoder.open_stream()
    stream.close()
    stream.close()
    for call in (lambda: stream.push(random_mel(vocoder, 1)), stream.flush, stream.reset):
        with pytest.raises(InputError, match="closed"):
            call()


def test_a_failing_provider_leaves_a_stream_that_a_reset_revives(vocoder, monkeypatch):
    mel = random_mel(vocoder, 20)
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None)) as stream:
        inner = stream._stream
        monkeypatch.setattr(inner, "push", lambda _: (_ for _ in ()).throw(ProviderError("gone")))
        with pytest.raises(ProviderError, match="gone"):
            stream.push(mel)
        monkeypatch.undo()
        with pytest.raises(InputError, match="reset"):
            stream.push(mel)
        stream.reset()
        audio = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
    np.testing.assert_allclose(audio, vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_artifact_without_stream_graphs_says_how_to_get_them(tiny_checkpoint, tmp_path):
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, tmp_path / "whole", stream=False))
    with Vocoder.load(tmp_path / "whole") as vocoder:
        assert not vocoder.supports(VocoderFeature.STREAMING)
        with pytest.raises(ProviderError, match=r"stream\.fp32"):
            vocoder.open_stream()


def test_the_adaptive_sampler_refuses_to_stream_by_name(tiny_diffwave):
    with (
        Vocoder.load(tiny_diffwave) as vocoder,
        pytest.raises(InputError, match=r"'adaptive'.*cannot stream"),
    ):
        vocoder.open_stream(VocodingConfig(sampler="adaptive"))


@pytest.mark.parametrize(
    "settings_of_stream",
    [
        {"chunk_frames": 0},
        {"chunk_frames": 5000},
        {"chunk_frames": 32, "max_chunk_frames": 16},
        {"chunk_frames": None, "adaptive": True},
        {"latency_ms": 0.0},
        {"latency_ms": float("nan")},
        {"max_buffered_ms": -1.0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused_where_they_are_made(settings_of_stream):
    with pytest.raises(InputError):
        StreamingConfig(**settings_of_stream)


def test_64_streams_over_4_threads_each_equal_their_offline_pass(vocoder):
    mels = [random_mel(vocoder, 20 + number % 13, seed=number) for number in range(64)]
    wanted = [vocoder.vocode(mel).samples[0] for mel in mels]
    streams = [vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None)) for _ in mels]
    heard: list[list[NDArray[np.float32]]] = [[] for _ in mels]
    barrier = threading.Barrier(4)

    def run(worker: int) -> None:
        barrier.wait()
        mine = range(worker, 64, 4)
        for start in range(0, 33, 3):
            for number in mine:
                chunk = mels[number][:, start : start + 3]
                heard[number].append(streams[number].push(chunk).samples[0])
        for number in mine:
            heard[number].append(streams[number].flush().samples[0])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    for pieces, audio in zip(heard, wanted, strict=True):
        np.testing.assert_allclose(np.concatenate(pieces), audio, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_ten_minutes_in_random_chunks_keep_memory_flat_and_the_sample_count_exact(vocoder):
    rng = np.random.default_rng(0)
    convention = vocoder.metadata.convention
    frames = 600 * convention.sample_rate // convention.hop_length
    samples, pushed, early_bytes = 0, 0, None
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=None)) as stream:
        tracemalloc.start()
        while pushed < frames:
            count = min(frames - pushed, int(rng.integers(1, 200)))
            mel = rng.standard_normal((convention.n_mels, count), np.float32)
            samples += stream.push(mel).samples.shape[1]
            pushed += count
            if early_bytes is None and pushed > frames // 10:
                early_bytes, _ = tracemalloc.get_traced_memory()
        late_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        samples += stream.flush().samples.shape[1]
    assert samples == frames * convention.hop_length
    assert late_bytes < (early_bytes or 0) + (1 << 20)


def test_a_stream_counts_what_went_through_it(vocoder):
    mel = random_mel(vocoder, 64)
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=16)) as stream:
        assert stream.statistics.first_audio_ms is None
        for chunk in cut(mel, [10]):
            stream.push(chunk)
        counted = stream.statistics
        assert (counted.chunks, counted.frames, counted.chunk_frames) == (4, 64, 16)
        assert counted.samples == 64 * 16 - stream.delay_samples
        assert counted.compute_p50_ms is not None
        assert counted.compute_p50_ms <= counted.compute_p99_ms
        stream.reset()
        assert stream.statistics.frames == 0


def test_the_clock_tells_deadlines_underruns_and_overruns_apart():
    clock = StreamClock(sample_rate=1000, hop_length=10, max_buffered_ms=50.0)
    # 10 frames last 100 ms.
    assert clock.ran(0.0, 0.04, 10, 20)
    assert not clock.ran(0.05, 0.2, 10, 100)
    late = clock.statistics(None)
    assert (late.deadline_misses, late.underruns, late.overruns) == (1, 1, 0)
    assert late.first_audio_ms == pytest.approx(40.0)
    clock.ran(0.2, 0.21, 10, 300)
    assert clock.statistics(None).overruns == 1


def test_adaptive_chunks_grow_when_deadlines_are_missed_and_shrink_again():
    size = ChunkSize(StreamingConfig(chunk_frames=8, max_chunk_frames=24, adaptive=True))
    size.ran(False)
    assert size.frames == 8
    for _ in range(3):
        size.ran(False)
    assert size.frames == 24
    for _ in range(64):
        size.ran(True)
    assert size.frames == 12
    for _ in range(128):
        size.ran(True)
    assert size.frames == 8


def test_chunks_stay_as_they_are_unless_they_may_adapt():
    size = ChunkSize(StreamingConfig(chunk_frames=8))
    for _ in range(5):
        size.ran(False)
    assert size.frames == 8


def test_the_dummy_streams_what_it_says_offline():
    vocoder = DummyVocoder()
    assert vocoder.supports(VocoderFeature.STREAMING)
    mel = np.random.default_rng(0).uniform(-8, 1, (80, 50)).astype(np.float32)
    np.testing.assert_array_equal(streamed(vocoder, mel, [7]), vocoder.vocode(mel).samples[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_resblock1", "tiny_resblock2"])
@pytest.mark.parametrize("sizes", [[1], [8], [5, 13, 2]], ids=str)
def test_a_stream_says_what_the_official_implementation_says(data_dir, tmp_path, name, sizes):
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    folder = data_dir / "hifigan" / name
    export_artifact(
        ExportRequest("hifigan", folder / "generator", folder / "config.json", tmp_path / "golden")
    )
    mel = np.load(folder / "mel.npy")[0]
    with Vocoder.load(tmp_path / "golden") as vocoder:
        audio = streamed(vocoder, mel, sizes, streaming=StreamingConfig(chunk_frames=None))
    np.testing.assert_allclose(audio, np.load(folder / "audio.npy").reshape(-1), rtol=0, atol=1e-5)
