"""Batches: every utterance as if alone, in bounded groups, and one that is bad fails for itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import random_mels
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.runtime import (
    Artifact,
    BatchError,
    InputError,
    ProviderError,
    SessionConfig,
    Vocoder,
    VocodingConfig,
)
from voirs_vocoder.runtime.drivers.batch_graph import groups_within
from voirs_vocoder.runtime.providers import open_session

pytestmark = [
    pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def batched(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("batch") / "artifact"
    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root, stream=False, batch=True))
    return root


@pytest.fixture(scope="module")
def together(batched: Path):
    with Vocoder.load(batched, session=SessionConfig(batching="together")) as vocoder:
        yield vocoder


@pytest.fixture(scope="module")
def alone(batched: Path):
    with Vocoder.load(batched) as vocoder:
        yield vocoder


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_utterances_that_run_at_the_same_time_equal_their_own_vocode(batched, alone, provider):
    mels = random_mels([7, 60, 1, 33, 33, 12, 48])
    session = SessionConfig(threads=1, parallel_runs=3, batching="alone")
    with Vocoder.load(batched, provider=provider, session=session) as vocoder:
        for _ in range(3):
            audios = vocoder.vocode_batch(mels)
            for mel, audio in zip(mels, audios, strict=True):
                np.testing.assert_allclose(audio.samples, alone.vocode(mel).samples, rtol=0, atol=1e-5)


def test_one_bad_utterance_among_parallel_ones_fails_for_itself(batched):
    mels = random_mels([7, 20, 9])
    with Vocoder.load(batched, session=SessionConfig(threads=1, parallel_runs=2)) as vocoder:
        mels[1] = np.full_like(mels[1], np.nan)
        with pytest.raises(BatchError) as caught:
            vocoder.vocode_batch(mels)
    assert set(caught.value.failures) == {1}
    assert caught.value.audios[0] is not None
    assert caught.value.audios[2] is not None


def test_parallel_runs_are_bounded_and_refused_where_a_provider_has_none(batched):
    for count in (0, 65):
        with pytest.raises(InputError, match=f"parallel_runs must be between 1 and 64, got {count}"):
            SessionConfig(parallel_runs=count)
    artifact = Artifact.open(batched)
    with pytest.raises(ProviderError, match="parallel_runs must be 1 on provider 'cuda', got 2; use one of"):
        open_session(artifact, "offline", "fp32", "cuda", SessionConfig(parallel_runs=2))


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=7))
@settings(max_examples=25, deadline=None)
def test_each_utterance_of_a_batch_equals_its_own_vocode(together, alone, lengths):
    mels = random_mels(lengths)
    for vocoder in (together, alone):
        for mel, audio in zip(mels, vocoder.vocode_batch(mels), strict=True):
            wanted = alone.vocode(mel).samples
            assert audio.samples.shape == wanted.shape
            np.testing.assert_allclose(audio.samples, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_flow_gives_every_row_its_own_noise(data_dir, tmp_path):
    folder = data_dir / "waveglow"
    root = tmp_path / "waveglow"
    export_artifact(
        ExportRequest(
            "waveglow",
            folder / "tiny" / "pickled_module.pt",
            folder / "config.json",
            root,
            stream=False,
            batch=True,
        )
    )
    mels = random_mels([12, 5, 9], n_mels=8)
    configs = [VocodingConfig(seed=1), VocodingConfig(seed=2, denoise=0.3), VocodingConfig(seed=3, sigma=1.0)]
    with Vocoder.load(root, session=SessionConfig(batching="together")) as vocoder:
        audios = vocoder.vocode_batch(mels, configs)
        for mel, config, audio in zip(mels, configs, audios, strict=True):
            np.testing.assert_allclose(audio.samples, vocoder.vocode(mel, config).samples, rtol=0, atol=1e-5)


def test_one_bad_utterance_fails_by_position_and_the_others_are_there(together, alone):
    mels = random_mels([20, 8, 13])
    mels[1][3, 4] = np.nan
    for vocoder in (together, alone):
        with pytest.raises(BatchError, match=r"utterance 1 of 3: .*finite") as caught:
            vocoder.vocode_batch(mels)
        assert list(caught.value.failures) == [1]
        assert isinstance(caught.value.failures[1], InputError)
        assert caught.value.audios[1] is None
        for position in (0, 2):
            np.testing.assert_allclose(
                caught.value.audios[position].samples,
                alone.vocode(mels[position]).samples,
                rtol=0,
                atol=1e-5,
            )


def test_a_setting_that_means_nothing_fails_its_own_utterance_alone(alone):
    with pytest.raises(BatchError, match=r"utterance 0 of 2: .*sigma") as caught:
        alone.vocode_batch(random_mels([4, 4]), [VocodingConfig(sigma=1.0), None])
    assert caught.value.audios[1] is not None


def test_configurations_must_be_one_for_each(alone):
    with pytest.raises(InputError, match="one for each of 2"):
        alone.vocode_batch(random_mels([4, 4]), [None])


def test_no_utterances_are_no_audio(alone, together):
    assert alone.vocode_batch([]) == []
    assert together.vocode_batch([]) == []


@pytest.mark.slow
def test_an_artifact_without_a_batch_graph_refuses_to_run_together(batched, tmp_path, tiny_checkpoint):
    root = tmp_path / "plain"
    export_artifact(ExportRequest("hifigan", tiny_checkpoint, None, root, stream=False, batch=False))
    with (
        Vocoder.load(root, session=SessionConfig(batching="together")) as vocoder,
        pytest.raises(ProviderError, match=r"batch\.fp32"),
    ):
        vocoder.vocode_batch(random_mels([3]))
    with pytest.raises(InputError, match="batching"):
        SessionConfig(batching="sometimes")
    shutil.rmtree(root)


@given(
    lengths=st.dictionaries(st.integers(0, 50), st.integers(1, 300), max_size=20),
    max_frames=st.integers(1, 1000),
)
def test_groups_hold_every_utterance_once_within_the_budget(lengths, max_frames):
    groups = list(groups_within(lengths, max_frames))
    assert sorted(position for group in groups for position in group) == sorted(lengths)
    for group in groups:
        padded = len(group) * max(lengths[position] for position in group)
        assert len(group) == 1 or padded <= max_frames


def test_the_batch_graph_says_how_far_a_row_is_from_its_utterance_alone(batched):
    graph = Artifact.open(batched).graph("batch", "fp32", None)
    assert [tensor.name for tensor in graph.inputs] == ["mel", "lengths"]
    assert graph.details["max_error_against_offline"] <= 1e-6
