"""The extrapolator: ridge regression on cosines, on mels whose future follows from their past."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from scipy.fft import idct

from voirs_vocoder.calibration.extrapolation import extrapolator_from_mels, prediction_error
from voirs_vocoder.runtime import Artifact, InputError, StreamingConfig, Vocoder
from voirs_vocoder.runtime.streaming.low_latency import (
    FITTED_FRAMES,
    LinearExtrapolator,
    repeated_last_frame,
)

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")


def guess(model, mel: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"mel": mel.astype(np.float32)})[0]


def smooth_mels(seed: int, segments: int = 30, frames: int = 60) -> np.ndarray:
    """Mels whose cosines are damped oscillations, which four frames determine."""
    rng = np.random.default_rng(seed)
    cosines = np.zeros((segments, 20, frames))
    time = np.arange(frames)
    for row in range(6):
        phase = rng.uniform(0, 2 * np.pi, (segments, 1))
        cosines[:, row] = rng.uniform(5, 30, (segments, 1)) * np.sin(0.25 * time + phase)
    return idct(cosines, axis=1, norm="ortho").astype(np.float32)


def test_what_is_linear_in_the_past_is_foreseen():
    model = extrapolator_from_mels(smooth_mels(0), 5)
    fresh = smooth_mels(1)
    futures = guess(model, fresh[:, :, 20 - FITTED_FRAMES : 20])
    assert futures.shape == (30, 20, 5)
    assert prediction_error(fresh, futures, 20) < 0.02


def test_a_still_mel_stays_as_it_is():
    rng = np.random.default_rng(0)
    still = np.repeat(rng.normal(-5, 2, (8, 20, 1)), 40, axis=2).astype(np.float32)
    futures = guess(extrapolator_from_mels(still, 6), still[:, :, :FITTED_FRAMES])
    np.testing.assert_allclose(futures, still[:, :, :6], rtol=0, atol=1e-3)


def test_detail_beyond_the_cosines_is_repeated():
    detail = np.zeros((1, 20, 1))
    detail[0, 18, 0] = 1.0
    fine = idct(detail, axis=1, norm="ortho")
    model = extrapolator_from_mels(smooth_mels(0), 4)
    mel = smooth_mels(2, segments=1)[:, :, :FITTED_FRAMES]
    plain, detailed = guess(model, mel), guess(model, mel + fine)
    np.testing.assert_allclose(detailed - plain, np.repeat(fine, 4, axis=2), rtol=0, atol=1e-5)


def test_the_same_mels_give_the_same_bytes():
    mels = smooth_mels(3)
    first, again = extrapolator_from_mels(mels, 5), extrapolator_from_mels(mels, 5)
    assert first.SerializeToString() == again.SerializeToString()


def test_segments_that_are_too_short_are_refused():
    with pytest.raises(InputError, match="10 frames or more, got 9"):
        extrapolator_from_mels(np.zeros((3, 20, 9), np.float32), 5)


def test_an_artifact_with_calibration_extrapolates_by_its_own_graph(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("extrapolator", "fp32", None)
    assert entry.details["error_against_repeating"] < 1.0
    with Vocoder.load(tiny_artifact) as vocoder:
        with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=1, look_ahead_frames=2)) as stream:
            assert isinstance(stream._stream._extrapolator, LinearExtrapolator)
            mel = np.random.default_rng(0).standard_normal((10, 30), np.float32)
            audio = np.concatenate([stream.push(mel).samples[0], stream.flush().samples[0]])
        assert audio.shape == (480,)


@pytest.mark.slow
def test_an_artifact_without_calibration_repeats_the_last_frame(tiny_checkpoint, tmp_path):
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, tmp_path / "plain"))
    streaming = StreamingConfig(chunk_frames=1, look_ahead_frames=2)
    with Vocoder.load(tmp_path / "plain") as vocoder, vocoder.open_stream(streaming=streaming) as stream:
        assert stream._stream._extrapolator is repeated_last_frame
