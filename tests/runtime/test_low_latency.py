"""Less latency than the look-ahead: what is extrapolated is never committed, and budgets are kept or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import random_mel, streamed
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact, InputError, SessionConfig, StreamingConfig, Vocoder
from voirs_vocoder.runtime.providers import open_session
from voirs_vocoder.runtime.streaming.graph_stream import StreamGraph
from voirs_vocoder.runtime.streaming.latency_budget import Stopwatch, plan_for_budget
from voirs_vocoder.runtime.streaming.low_latency import LowLatencyStream, extrapolated_frames

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

FRAME_MS = 2.0


@pytest.fixture(scope="module")
def graph(tiny_artifact: Path) -> StreamGraph:
    artifact = Artifact.open(tiny_artifact)
    session, entry = open_session(artifact, "stream", "fp32", "cpu", SessionConfig())
    return StreamGraph(session, entry, artifact.manifest.hop_length)


@given(frames=st.integers(1, 60), chunk_frames=st.integers(1, 6), look_ahead_frames=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_who_foresees_the_future_hears_the_offline_pass(
    vocoder, graph, frames, chunk_frames, look_ahead_frames
):
    mel = random_mel(vocoder, frames)
    future = np.concatenate((mel, np.zeros((10, 40), np.float32)), axis=1)
    known = 0

    def foresight(past: np.ndarray, count: int) -> np.ndarray:
        np.testing.assert_array_equal(past, mel[:, known - past.shape[1] : known])
        return future[:, known : known + count]

    stream = LowLatencyStream(graph, chunk_frames, look_ahead_frames, foresight)
    pieces = []
    for start in range(0, frames, chunk_frames):
        known = min(frames, start + chunk_frames)
        pieces.append(stream.push(mel[:, start : start + chunk_frames]).copy())
    heard = sum(piece.size for piece in pieces)
    assert heard == max(0, (frames - look_ahead_frames) * 16)
    audio = np.concatenate([*pieces, stream.finish()])
    wanted = vocoder.vocode(mel).samples[0]
    assert audio.shape == wanted.shape
    # Before the end was known, zeros that were foreseen behind it are not the end itself.
    certain = max(0, (frames - 12) * 16)
    np.testing.assert_allclose(audio[:certain], wanted[:certain], rtol=0, atol=1e-5)
    np.testing.assert_allclose(audio[heard:], wanted[heard:], rtol=0, atol=1e-5)


def test_the_audio_so_far_depends_on_no_frame_that_has_not_come(vocoder):
    one, other = random_mel(vocoder, 40), random_mel(vocoder, 40)
    other[:, 25:] = 3.0
    heard = []
    for mel in (one, other):
        with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=5, look_ahead_frames=2)) as stream:
            heard.append(
                np.concatenate([stream.push(mel[:, at : at + 5]).samples[0] for at in range(0, 40, 5)])
            )
    certain = (25 - 2) * 16
    np.testing.assert_array_equal(heard[0][:certain], heard[1][:certain])
    assert np.abs(heard[0][certain:] - heard[1][certain:]).max() > 1e-4


def test_the_whole_look_ahead_is_exact_again(vocoder, graph):
    mel = random_mel(vocoder, 50)
    whole = -(-graph.delay_samples // 16)
    assert extrapolated_frames(graph, whole) == 0
    streaming = StreamingConfig(chunk_frames=4, look_ahead_frames=whole)
    audio = streamed(vocoder, mel, [50], streaming=streaming)
    np.testing.assert_allclose(audio, vocoder.vocode(mel).samples[0], rtol=0, atol=1e-5)


def test_more_look_ahead_is_never_further_from_the_offline_pass(vocoder):
    mel = np.cumsum(random_mel(vocoder, 120), axis=1) * np.float32(0.1)
    wanted = vocoder.vocode(mel).samples[0]
    errors = []
    for look_ahead_frames in (0, 3, 6):
        streaming = StreamingConfig(chunk_frames=1, look_ahead_frames=look_ahead_frames)
        error = streamed(vocoder, mel, [120], streaming=streaming) - wanted
        errors.append(float(np.square(error).sum()))
    assert errors == sorted(errors, reverse=True)


def test_a_low_latency_stream_can_be_reset(vocoder):
    mel = random_mel(vocoder, 30)
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=3, look_ahead_frames=1)) as stream:
        first = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
        stream.reset()
        again = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
    np.testing.assert_array_equal(first, again)


class _Timed(Stopwatch):
    """A machine that takes so long for each frame, and for each run."""

    def __init__(self, per_frame_ms: float, per_run_ms: float) -> None:
        self._per_frame_ms, self._per_run_ms = per_frame_ms, per_run_ms

    def compute_ms(self, frames: int) -> float:
        return self._per_run_ms + self._per_frame_ms * frames


def test_a_budget_buys_the_most_look_ahead_that_fits(graph):
    plan = plan_for_budget(graph, _Timed(0.05, 0.1), FRAME_MS, 12.0, 16)
    assert plan.chunk_frames == 1
    assert plan.latency_ms <= 12.0
    more = plan_for_budget(graph, _Timed(0.05, 0.1), FRAME_MS, 12.0 + FRAME_MS, 16)
    assert more.look_ahead_frames == plan.look_ahead_frames + 1


def test_a_slower_machine_takes_larger_chunks(graph):
    plan = plan_for_budget(graph, _Timed(0.15, 0.5), FRAME_MS, 20.0, 16)
    assert plan.chunk_frames == 2


def test_an_impossible_budget_says_what_the_least_is(graph):
    with pytest.raises(
        InputError, match=r"1 ms is impossible here, the least is \d+\.\d ms: \d \+ \d frames"
    ):
        plan_for_budget(graph, _Timed(0.05, 0.1), FRAME_MS, 1.0, 16)


def test_a_machine_that_cannot_keep_up_says_so(graph):
    with pytest.raises(InputError, match="cannot compute the extrapolation in real time"):
        plan_for_budget(graph, _Timed(5.0, 1.0), FRAME_MS, 100.0, 16)


def test_a_budget_is_kept_from_end_to_end(vocoder):
    with vocoder.open_stream(streaming=StreamingConfig(latency_ms=400.0)) as stream:
        mel = random_mel(vocoder, 50)
        audio = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
    assert audio.shape == (800,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [{"latency_ms": 100.0}, {"look_ahead_frames": 0}, {"low_latency": True}], ids=str
)
@pytest.mark.parametrize("fixture", ["tiny_waveglow", "tiny_diffwave"])
def test_models_that_need_their_whole_look_ahead_refuse_less_by_name(fixture, setting, request):
    with (
        Vocoder.load(request.getfixturevalue(fixture)) as vocoder,
        pytest.raises(InputError, match=f"{next(iter(setting))} is for one-pass models"),
    ):
        vocoder.open_stream(streaming=StreamingConfig(**setting))


def test_a_budget_and_a_look_ahead_exclude_each_other():
    with pytest.raises(InputError, match="one of look_ahead_frames, low_latency, latency_ms"):
        StreamingConfig(latency_ms=50.0, look_ahead_frames=3)


@pytest.mark.slow
def test_the_least_look_ahead_that_is_good_enough_is_measured_and_becomes_the_default(
    tiny_artifact, sample_recordings, tmp_path
):
    pytest.importorskip("pesq")
    root, speech = tmp_path / "artifact", tmp_path / "speech"
    shutil.copytree(tiny_artifact, root)
    speech.mkdir()
    shutil.copy(sample_recordings[0], speech)
    with (
        Vocoder.load(root) as vocoder,
        pytest.raises(InputError, match="tune DIR --speech S --only look-ahead"),
    ):
        vocoder.open_stream(streaming=StreamingConfig(low_latency=True))
    result = CliRunner().invoke(main, ["tune", str(root), "--speech", str(speech), "--budget-s", "1"])
    assert result.exit_code == 0, result.output
    artifact = Artifact.open(root)
    assert all(problem is None for _, problem in artifact.verify())
    report = json.loads((root / "validation" / "look-ahead.json").read_bytes())
    assert [point["look_ahead_frames"] for point in report["points"]] == list(
        range(artifact.manifest.look_ahead_frames + 1)
    )
    # What awaits the whole look-ahead is the offline pass.
    assert report["points"][-1]["snr_db"] is None or report["points"][-1]["snr_db"] > 100
    assert report["points"][-1]["pesq_wb"] == pytest.approx(report["offline_pesq_wb"], abs=1e-3)
    chosen = report["points"][report["chosen"]]["look_ahead_frames"]
    assert f"awaits {chosen} frames" in result.stdout
    assert "skipped sampler: only a diffusion model" in result.stderr
    with Vocoder.load(root) as vocoder:
        streaming = StreamingConfig(chunk_frames=2, low_latency=True)
        with vocoder.open_stream(streaming=streaming) as stream:
            whole = artifact.graph("stream", "fp32", None).facts.delay_samples
            assert stream.delay_samples == min(chosen * 16, whole)


def test_look_ahead_is_measured_of_one_pass_models_only(tiny_diffwave, calibration_folder):
    arguments = ["tune", str(tiny_diffwave), "--speech", str(calibration_folder), "--only", "look-ahead"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "only one-pass models" in result.stderr
