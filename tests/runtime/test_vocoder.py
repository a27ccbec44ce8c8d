"""The runtime on a real artifact: what the model computes, in windows, with its input checked."""

import warnings

import msgspec
import numpy as np
import pytest
import torch

from voirs_vocoder.reference_models import get_family
from voirs_vocoder.runtime import (
    ArrayMelSource,
    Artifact,
    DummyVocoder,
    InputError,
    MelRangeWarning,
    MelSpectrogram,
    ProviderError,
    SessionConfig,
    Vocoder,
    VocoderFeature,
    VocodingConfig,
    get_convention,
)


@pytest.fixture
def mel():
    return np.clip(np.random.default_rng(0).normal(-5, 2, (10, 150)), -11, 1.5).astype(np.float32)


def test_the_artifact_says_what_the_checkpoint_says(vocoder, tiny_checkpoint, mel):
    module = get_family("hifigan").load(tiny_checkpoint, None)
    expected = module(torch.from_numpy(mel)[None]).numpy()[0]
    audio = vocoder.vocode(mel)
    assert audio.sample_rate == 8000
    assert audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_windows_equal_one_pass_in_every_precision(tiny_artifact, mel, precision):
    with Vocoder.load(tiny_artifact, precision=precision) as vocoder:
        whole = vocoder.vocode(mel).samples
        for window_frames in (110, 131, 149):
            windowed = vocoder.vocode(mel, VocodingConfig(window_frames=window_frames)).samples
            np.testing.assert_allclose(windowed, whole, atol=1e-5)


def test_a_small_memory_budget_changes_nothing_but_memory(tiny_artifact, vocoder, mel):
    session = SessionConfig(activation_budget_bytes=1 << 20)
    with Vocoder.load(tiny_artifact, session=session) as small:
        np.testing.assert_allclose(small.vocode(mel).samples, vocoder.vocode(mel).samples, atol=1e-5)


def test_a_source_gives_what_the_array_gives(vocoder, mel):
    source = ArrayMelSource(mel, vocoder.metadata.convention)
    pieces = list(vocoder.vocode_source(source, VocodingConfig(window_frames=110)))
    assert len(pieces) > 1
    joined = np.concatenate([piece.samples for piece in pieces], axis=1)
    np.testing.assert_allclose(joined, vocoder.vocode(mel).samples, atol=1e-5)


def test_a_batch_of_one_is_accepted(vocoder, mel):
    np.testing.assert_array_equal(vocoder.vocode(mel[None]).samples, vocoder.vocode(mel).samples)


def test_another_convention_is_refused(vocoder):
    mel = MelSpectrogram(np.zeros((80, 5), np.float32), get_convention("hifigan-22k"))
    with pytest.raises(InputError, match=r"takes mel convention .* got 'hifigan-22k'"):
        vocoder.vocode(mel)


@pytest.mark.parametrize(
    "broken",
    [
        np.full((10, 5), np.nan, np.float32),
        np.full((10, 5), np.inf, np.float32),
        np.zeros((11, 5), np.float32),
        np.zeros((10, 0), np.float32),
        np.zeros((10, 5)),
        np.zeros((50, 10), np.float32),
        np.zeros((2, 10, 5), np.float32),
        [[0.0]],
    ],
)
def test_a_mel_that_breaks_a_rule_is_refused_in_one_line(vocoder, broken):
    with pytest.raises(InputError) as caught:
        vocoder.vocode(broken)
    assert "\n" not in str(caught.value)


def test_a_range_of_another_convention_is_a_warning(vocoder, mel):
    with pytest.warns(MelRangeWarning):
        vocoder.vocode(np.random.default_rng(0).uniform(0, 1, (10, 60)).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vocoder.vocode(mel)


def test_unknown_names_are_errors_that_list_the_known_ones(tiny_artifact):
    with pytest.raises(ProviderError, match="known: auto, cpu, openvino"):
        Vocoder.load(tiny_artifact, provider="tpu")
    with pytest.raises(
        ProviderError, match=r"no graph offline\.int4 .*, it holds offline\.fp32, offline\.fp16"
    ):
        Vocoder.load(tiny_artifact, precision="int4")


def test_auto_says_what_it_chose(tiny_artifact):
    with Vocoder.load(tiny_artifact, provider="auto") as chosen:
        assert chosen.metadata.provider in ("cpu", "cuda", "tensorrt-engine")


def test_openvino_agrees_with_onnxruntime(tiny_artifact, vocoder, mel):
    with Vocoder.load(tiny_artifact, provider="openvino") as other:
        np.testing.assert_allclose(other.vocode(mel).samples, vocoder.vocode(mel).samples, atol=1e-4)


def test_features_are_those_of_the_graphs(vocoder, tiny_artifact):
    assert vocoder.supports(VocoderFeature.STREAMING)
    assert vocoder.supports(VocoderFeature.BATCH)
    manifest = Artifact.open(tiny_artifact).manifest
    graphs = tuple(graph for graph in manifest.graphs if graph.role != "batch")
    manifest = msgspec.structs.replace(manifest, graphs=graphs)
    assert not Vocoder.from_driver(manifest, "fp32", vocoder._driver).supports(VocoderFeature.BATCH)


def test_the_dummy_follows_the_energy_and_joins_its_windows():
    dummy = DummyVocoder()
    mel = np.full((80, 200), -11.0, np.float32)
    mel[:, 100:] = 0.0
    audio = dummy.vocode(mel).samples[0]
    assert np.abs(audio[: 99 * 256]).max() < 1e-4
    assert np.abs(audio[100 * 256 :]).max() > 0.1
    windowed = dummy.vocode(mel, VocodingConfig(window_frames=7)).samples[0]
    np.testing.assert_allclose(windowed, audio, atol=1e-6)
    assert dummy.metadata.family == "dummy"
