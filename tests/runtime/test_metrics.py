from __future__ import annotations

import sys

import auraloss
import librosa
import numpy as np
import pytest
import torch

from voirs_vocoder.runtime import metrics
from voirs_vocoder.runtime.audio import read_audio
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import get_convention
from voirs_vocoder.runtime.metrics import FIGURES, METRICS, MetricUnavailableError, figure_text, measure
from voirs_vocoder.runtime.metrics.perceptual import _int16

RATE = 22050
HIFIGAN = get_convention("hifigan-22k")


@pytest.fixture(scope="module")
def speech(data_dir) -> np.ndarray:
    return read_audio(data_dir / "mel" / "audio_1.flac").samples[0]


@pytest.fixture(scope="module")
def noisy(speech) -> np.ndarray:
    return speech + np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32) * np.float32(
        0.003
    )


def test_snr_is_the_ratio_of_energies_in_db():
    reference = np.tile(np.array([1.0, -1.0], np.float32), 50)
    assert metrics.snr_db(reference, reference * np.float32(0.9)) == pytest.approx(20.0, abs=1e-5)
    assert metrics.snr_db(reference, reference * 0) == 0.0


def test_snr_of_silence_is_defined():
    silence, sound = np.zeros(10, np.float32), np.ones(10, np.float32)
    assert metrics.snr_db(silence, silence) == np.inf
    assert metrics.snr_db(silence, sound) == -np.inf


def test_max_abs_error_finds_the_worst_sample():
    reference = np.zeros(10, np.float64)
    degraded = reference.copy()
    degraded[[3, 7]] = 0.25, -0.5
    assert metrics.max_abs_error(reference, degraded) == 0.5


def test_lsd_equals_its_definition_on_librosas_stft(speech, noisy):
    def log_power(signal):
        power = (
            np.abs(librosa.stft(signal.astype(np.float64), n_fft=2048, hop_length=512, pad_mode="reflect"))
            ** 2
        )
        return np.log10(np.maximum(power, 1e-8))

    expected = np.sqrt(np.mean((log_power(speech) - log_power(noisy)) ** 2, axis=0)).mean()
    assert metrics.lsd(speech, noisy) == pytest.approx(expected, rel=1e-6)


def test_lsd_of_a_gain_is_the_gain(speech):
    loud = np.random.default_rng(1).standard_normal(20_000)
    assert metrics.lsd(loud, loud * 10) == pytest.approx(2.0, rel=1e-6)


def test_multi_resolution_stft_equals_auraloss(speech, noisy):
    loss = auraloss.freq.MultiResolutionSTFTLoss()
    expected = loss(
        torch.from_numpy(noisy)[None, None].double(), torch.from_numpy(speech)[None, None].double()
    )
    assert metrics.multi_resolution_stft(speech, noisy) == pytest.approx(float(expected), rel=1e-5)


def test_mel_l1_of_a_gain_is_its_logarithm():
    loud = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    measured = metrics.mel_l1(loud, loud * np.float32(np.e), RATE, HIFIGAN)
    assert measured == pytest.approx(1.0, abs=1e-5)


def test_pesq_is_full_for_equal_speech_and_falls_with_noise(speech, noisy):
    pytest.importorskip("pesq")
    assert metrics.pesq_wb(speech, speech, RATE) == pytest.approx(4.644, abs=1e-3)
    assert 1.0 < metrics.pesq_wb(speech, noisy, RATE) < 4.0


def test_pesq_samples_are_clipped_to_int16():
    values = _int16(np.array([0.0, 1.0, -1.0, 2.0, -2.0], np.float32))
    assert values.tolist() == [0, 32767, -32767, 32767, -32767]


def test_stoi_is_one_for_equal_speech_and_falls_with_noise(speech, noisy):
    pytest.importorskip("pystoi")
    assert metrics.stoi(speech, speech, RATE) == pytest.approx(1.0, abs=1e-6)
    loud_noise = speech + (noisy - speech) * 100
    assert metrics.stoi(speech, loud_noise, RATE) < metrics.stoi(speech, noisy, RATE) < 1.0


@pytest.mark.parametrize("name", ["pesq_wb", "stoi"])
def test_perceptual_metrics_are_undefined_without_speech(name, speech):
    pytest.importorskip({"pesq_wb": "pesq", "stoi": "pystoi"}[name])
    silence = np.zeros_like(speech)
    metric = getattr(metrics, name)
    for reference in (silence, speech[:1], speech[:2000]):
        with pytest.raises(MetricUnavailableError):
            metric(reference, speech[: len(reference)], RATE)


@pytest.mark.parametrize(("name", "package"), [("pesq_wb", "pesq"), ("stoi", "pystoi")])
def test_a_missing_package_is_said_and_measured_as_none(monkeypatch, speech, noisy, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MetricUnavailableError,
        match=rf"needs {package}, which is not installed; pip install 'voirs-vocoder\[eval\]'",
    ):
        getattr(metrics, name)(speech, noisy, RATE)
    assert measure(speech, noisy, RATE, HIFIGAN, (name, "snr_db"))[name] is None


@pytest.mark.slow
def test_measure_gives_every_metric_in_order(speech, noisy):
    values = measure(speech, noisy, RATE, HIFIGAN)
    assert tuple(values) == METRICS
    assert values["snr_db"] == metrics.snr_db(speech, noisy)
    assert values["mel_l1"] == metrics.mel_l1(speech, noisy, RATE, HIFIGAN)
    with pytest.raises(InputError, match="unknown metric 'mos'"):
        measure(speech, noisy, RATE, HIFIGAN, ("mos",))


def test_equal_signals_have_no_distance(speech):
    expected = {"snr_db": np.inf, "max_abs_error": 0, "lsd": 0, "multi_resolution_stft": 0, "mel_l1": 0}
    assert measure(speech, speech, RATE, HIFIGAN, tuple(expected)) == expected


@pytest.mark.parametrize(
    ("name", "before", "after", "worse"),
    [
        ("pesq_wb", 3.0, 2.96, False),
        ("pesq_wb", 3.0, 2.9, True),
        ("lsd", 1.0, 1.04, False),
        ("lsd", 1.0, 1.06, True),
        ("lsd", 1.0, 0.1, False),
        ("rtf", 0.1, 0.1, False),
        ("rtf", 0.1, 0.11, True),
        ("stoi", 0.9, np.nan, True),
    ],
)
def test_a_figure_is_worse_beyond_its_tolerance_in_its_own_direction(name, before, after, worse):
    assert FIGURES[name].is_worse(before, after) is worse


def test_every_figure_can_be_shown():
    for name, figure in FIGURES.items():
        assert figure_text(name, 1.25) == format(1.25, figure.form)
        assert figure_text(name, None) == "-"
        assert figure.meaning.endswith(".")


def test_unusable_signals_are_refused(speech):
    for reference, degraded, message in (
        (speech, speech[1:], "equally long"),
        (speech[None], speech[None], r"\[samples\]"),
        (speech.astype(np.int16), speech, "float32 or float64"),
        (speech, np.full_like(speech, np.nan), "degraded must be finite"),
        (speech[:1024], speech[:1024], "needs 1025 samples"),
    ):
        with pytest.raises(InputError, match=message):
            metrics.lsd(reference, degraded)


def test_what_is_undefined_is_nan_and_not_as_what_is_not_installed(speech):
    silence = np.zeros_like(speech)
    values = measure(silence, speech, RATE, HIFIGAN, ("multi_resolution_stft", "si_sdr_db", "snr_db"))
    assert np.isnan(values["multi_resolution_stft"])
    assert np.isnan(values["si_sdr_db"])
    assert values["snr_db"] == -np.inf
    assert figure_text("si_sdr_db", values["si_sdr_db"]) == figure_text("si_sdr_db", None) == "-"
