"""Buckets: any length runs in few fixed shapes, and its audio is that of its own offline pass."""

from __future__ import annotations

import json
import logging
import shutil
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import random_mel, streamed
from voirs_vocoder.runtime import (
    Artifact,
    BatchError,
    InputError,
    ProviderError,
    SessionConfig,
    Vocoder,
    VocodingConfig,
    providers,
)
from voirs_vocoder.runtime.artifact.manifest import encode_manifest
from voirs_vocoder.runtime.drivers.batch_graph import groups_within
from voirs_vocoder.runtime.drivers.buckets import BATCH_SIZES, Buckets, buckets_for
from voirs_vocoder.runtime.errors import DeviceMemoryError
from voirs_vocoder.runtime.providers import Provider, register_provider
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.providers.session import bound_by_copying

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

UNET = {
    "sample_rate": 8000,
    "n_mels": 4,
    "n_fft": 256,
    "hop_samples": 64,
    "channels": [8, 8, 8],
    "blocks": 1,
    "group_channels": 4,
    "attention_heads": 2,
    "attention_reach_frames": 2,
    "conditioner_channels": 2,
    "embedding_channels": 8,
    "noise_schedule": [float(beta) for beta in np.linspace(1e-4, 0.05, 50)],
    "sampler": "dpm-solver++",
    "steps": 3,
    "audio_rms": 0.1,
    "conditioning_dropout": 0.1,
}

# Above the context of each model, and few, so that short, long and windowed inputs all come up.
SIZES = {
    "tiny_artifact": (20, 48),
    "tiny_waveglow": (30, 70),
    "tiny_diffwave": (8, 24),
    "tiny_unet": (12, 40),
}
LONGEST = {"tiny_artifact": 200, "tiny_waveglow": 200, "tiny_diffwave": 70, "tiny_unet": 100}


@pytest.fixture(scope="module")
def tiny_unet(tmp_path_factory):
    """A U-Net with random weights as an artifact in FP32."""
    import torch

    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
    from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet
    from voirs_vocoder.reference_models.diffusion.unet_config import UNetConfig

    folder = tmp_path_factory.mktemp("unet")
    (folder / "config.json").write_text(json.dumps(UNET))
    torch.manual_seed(0)
    model = DiffWaveUNet(UNetConfig.from_mapping(UNET))
    for name, parameter in model.named_parameters():
        # What starts training as zero would hide the layers before it.
        if name.endswith(("conv2.weight", "out.weight", "distance")):
            torch.nn.init.normal_(parameter, 0, 0.1)
    torch.save({"model": model.state_dict()}, folder / "weights.pt")
    root = folder / "artifact"
    export_artifact(ExportRequest("diffwave-unet", folder / "weights.pt", None, root, stream=False))
    return root


@pytest.fixture(scope="module", params=SIZES)
def pair(request):
    """A vocoder in buckets, one that runs every length in its own shape, and most frames to try."""
    root = request.getfixturevalue(request.param)
    session = SessionConfig(buckets=SIZES[request.param], batching="together")
    with Vocoder.load(root, session=session) as bucketed, Vocoder.load(root) as plain:
        yield bucketed, plain, LONGEST[request.param]


@settings(deadline=None, max_examples=25)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_every_length_equals_its_own_offline_pass(pair, data, seed):
    bucketed, plain, longest = pair
    mel = random_mel(plain, data.draw(st.integers(1, longest)), seed)
    np.testing.assert_allclose(bucketed.vocode(mel).samples, plain.vocode(mel).samples, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_a_batch_of_any_lengths_equals_each_utterance_alone(pair, data):
    bucketed, plain, longest = pair
    lengths = data.draw(st.lists(st.integers(1, longest // 2), min_size=1, max_size=9))
    mels = [random_mel(plain, frames, seed) for seed, frames in enumerate(lengths)]
    for mel, audio in zip(mels, bucketed.vocode_batch(mels), strict=True):
        np.testing.assert_allclose(audio.samples, plain.vocode(mel).samples, rtol=0, atol=1e-5)


def test_rows_of_a_diffusion_model_follow_their_own_plans(tiny_unet):
    configs = [
        VocodingConfig(seed=1),
        VocodingConfig(seed=2, sampler="ddpm", steps=7),
        VocodingConfig(sampler="adaptive", steps=9),
        VocodingConfig(guidance=1.5, sampler="ddim", steps=4, eta=0.5),
        VocodingConfig(steps=51),
        VocodingConfig(temperature=0.5, sampler="ddpm", schedule="linear", steps=2),
    ]
    together = SessionConfig(batching="together")
    in_buckets = SessionConfig(batching="together", buckets=(16, 64))
    with Vocoder.load(tiny_unet) as plain:
        mels = [random_mel(plain, frames, frames) for frames in (5, 30, 12, 12, 3, 60)]
        for session in (together, in_buckets):
            with Vocoder.load(tiny_unet, session=session) as vocoder:
                with pytest.raises(BatchError, match="utterance 4 of 6: steps") as caught:
                    vocoder.vocode_batch(mels, configs)
                audios = caught.value.audios
            for number, (mel, config) in enumerate(zip(mels, configs, strict=True)):
                if number != 4:
                    wanted = plain.vocode(mel, config).samples
                    np.testing.assert_allclose(audios[number].samples, wanted, rtol=0, atol=1e-5)


class CountingSession(OrtSession):
    """ONNX Runtime that remembers the shapes that it would have prepared, and the graphs that were loaded."""

    shapes: ClassVar[set[tuple[tuple[int, ...], ...]]] = set()
    roles: ClassVar[list[str]] = []
    most_values: ClassVar[int] = 1 << 40

    def __init__(self, graph, entry, config):
        super().__init__(graph, entry, "cpu", config)
        self.provider = "counting"
        self.roles.append(entry.role)

    def run(self, inputs):
        self.prepare(inputs)
        return super().run(inputs)

    def bind(self, inputs, outputs, resident=()):
        self.prepare(inputs)
        return bound_by_copying(self, inputs, outputs)

    def prepare(self, inputs):
        if max(values.size for values in inputs.values()) > self.most_values:
            raise DeviceMemoryError("the device has too little memory")
        self.shapes.add(tuple(values.shape for values in inputs.values()))


@pytest.fixture
def counting(monkeypatch):
    """The provider `counting`, known to this test only; returns its session's class."""
    monkeypatch.setattr(providers, "_registered", {})
    monkeypatch.setattr(CountingSession, "shapes", set())
    monkeypatch.setattr(CountingSession, "roles", [])
    register_provider(
        Provider(
            name="counting",
            on_gpu=True,
            problem=lambda: None,
            backend=lambda: None,
            open_graph=CountingSession,
            prepares_shapes=True,
        )
    )
    return CountingSession


def test_after_warming_no_length_and_no_batch_prepares_a_shape(tiny_artifact, counting):
    session = SessionConfig(activation_budget_bytes=1 << 20, warm=True)
    with Vocoder.load(tiny_artifact, provider="counting", session=session) as vocoder:
        assert counting.roles == ["batch"]
        warmed = set(counting.shapes)
        assert warmed
        for frames in (1, 7, 31, 32, 33, 100, 257, 1000, 3001):
            vocoder.vocode(random_mel(vocoder, frames))
        vocoder.vocode_batch([random_mel(vocoder, frames) for frames in range(3, 60, 2)])
        assert counting.shapes == warmed
        assert counting.roles == ["batch"]


def test_without_warming_a_shape_is_prepared_when_it_is_needed_first(tiny_artifact, counting):
    with Vocoder.load(tiny_artifact, provider="counting") as vocoder:
        assert not counting.shapes
        for frames in (33, 40, 50, 64):
            vocoder.vocode(random_mel(vocoder, frames))
        assert len(counting.shapes) == 1


def test_only_the_named_lengths_are_warmed(tiny_artifact, counting):
    session = SessionConfig(warm=(100,), batching="alone")
    with Vocoder.load(tiny_artifact, provider="counting", session=session):
        assert counting.shapes == {((1, 10, 128), (1,))}


def test_no_step_of_a_diffusion_model_prepares_a_shape_after_warming(tiny_unet, counting):
    session = SessionConfig(activation_budget_bytes=4 << 20, warm=True)
    with Vocoder.load(tiny_unet, provider="counting", session=session) as vocoder:
        assert counting.roles == ["batch-conditioner", "batch"]
        warmed = set(counting.shapes)
        for frames in (1, 40, 333, 1500):
            vocoder.vocode(random_mel(vocoder, frames))
        vocoder.vocode_batch([random_mel(vocoder, frames) for frames in range(3, 60, 7)])
        assert counting.shapes == warmed


@pytest.mark.parametrize("fixture", ["tiny_artifact", "tiny_unet"])
@pytest.mark.parametrize("warm", [False, True])
def test_what_does_not_fit_the_device_runs_in_smaller_shapes(
    fixture, warm, counting, request, caplog, monkeypatch
):
    root = request.getfixturevalue(fixture)
    # Neither four rows of 32 frames fit, nor one of 128.
    values_per_frame = {"tiny_artifact": 10, "tiny_unet": 2 * 64}[fixture]
    monkeypatch.setattr(counting, "most_values", 100 * values_per_frame)
    with (
        Vocoder.load(root) as plain,
        caplog.at_level(logging.WARNING),
        Vocoder.load(root, provider="counting", session=SessionConfig(warm=warm)) as vocoder,
    ):
        mels = [random_mel(plain, frames, frames) for frames in (250, 20, 100, 30, 31, 5)]
        wanted = [plain.vocode(mel).samples for mel in mels]
        if warm:
            for mel, audio in zip(mels, wanted, strict=True):
                np.testing.assert_allclose(vocoder.vocode(mel).samples, audio, rtol=0, atol=1e-5)
        for mel, audio, expected in zip(mels, vocoder.vocode_batch(mels), wanted, strict=True):
            np.testing.assert_allclose(audio.samples, expected, rtol=0, atol=1e-5)
            np.testing.assert_allclose(vocoder.vocode(mel).samples, expected, rtol=0, atol=1e-5)
    assert "too little memory for a batch of 1 with" in caplog.text


def test_a_device_without_memory_for_any_window_is_one_line(tiny_artifact, counting, monkeypatch):
    monkeypatch.setattr(counting, "most_values", 1)
    with (
        Vocoder.load(tiny_artifact, provider="counting") as vocoder,
        pytest.raises(DeviceMemoryError, match="too little memory"),
    ):
        vocoder.vocode(random_mel(vocoder, 9))


@pytest.mark.parametrize("fixture", ["tiny_artifact", "tiny_waveglow", "tiny_diffwave"])
def test_every_chunk_of_a_stream_has_the_same_shape(fixture, counting, request):
    root = request.getfixturevalue(fixture)
    session = SessionConfig(warm=(1,), batching="alone")
    with Vocoder.load(root) as plain, Vocoder.load(root, provider="counting", session=session) as vocoder:
        vocoder.open_stream().close()
        warmed = set(counting.shapes)
        for frames in (0, 1, 15, 16, 33, 70):
            mel = random_mel(plain, frames, frames)
            wanted = streamed(plain, mel, [9])
            np.testing.assert_allclose(streamed(vocoder, mel, [5, 20]), wanted, rtol=0, atol=1e-5)
        assert counting.shapes == warmed


def test_no_buckets_run_every_input_in_its_own_shape(tiny_artifact, counting):
    with Vocoder.load(tiny_artifact, provider="counting", session=SessionConfig(buckets=())) as vocoder:
        for frames in (5, 6, 7):
            vocoder.vocode(random_mel(vocoder, frames))
        assert counting.shapes == {((1, 10, frames),) for frames in (5, 6, 7)}


def test_an_artifact_without_batch_graphs_says_what_it_costs(tiny_artifact, counting, tmp_path, caplog):
    root = tmp_path / "old"
    shutil.copytree(tiny_artifact, root)
    manifest = Artifact.open(root).manifest
    graphs = tuple(graph for graph in manifest.graphs if graph.role != "batch")
    changed = msgspec.structs.replace(manifest, graphs=graphs)
    (root / "manifest.json").write_bytes(encode_manifest(changed))
    with caplog.at_level(logging.WARNING), Vocoder.load(root, provider="counting") as vocoder:
        assert vocoder.vocode(random_mel(vocoder, 9)).samples.shape == (1, 144)
    assert "has no graph batch, so provider counting prepares every new length" in caplog.text
    with pytest.raises(ProviderError, match=r"batch\.fp32"):
        Vocoder.load(root, session=SessionConfig(buckets=(64,)))


@pytest.mark.parametrize("buckets", [(3,), (0,), (1 << 20,)])
def test_buckets_that_cannot_be_used_are_refused(tiny_artifact, buckets):
    with pytest.raises(InputError, match=f"buckets must .*got {buckets[0]}"):
        Vocoder.load(tiny_artifact, session=SessionConfig(buckets=buckets))


def test_windows_never_exceed_the_longest_bucket(tiny_artifact, counting):
    session = SessionConfig(buckets=(40,))
    with Vocoder.load(tiny_artifact, provider="counting", session=session) as vocoder:
        mel = random_mel(vocoder, 300)
        wanted = vocoder.vocode(mel).samples
        np.testing.assert_array_equal(vocoder.vocode(mel, VocodingConfig(window_frames=90)).samples, wanted)
        assert counting.shapes == {((1, 10, 40), (1,))}


@given(
    affordable=st.integers(1, 20_000),
    context=st.integers(0, 300),
    frames=st.integers(1, 20_000),
    rows=st.integers(1, 40),
    per_doubling=st.sampled_from([1, 2, 4]),
)
def test_the_default_buckets_are_few_and_bounded(affordable, context, frames, rows, per_doubling):
    affordable = max(affordable, context + 1)
    buckets = buckets_for(SessionConfig(), affordable, context, per_doubling=per_doubling)
    assert list(buckets.frames) == sorted(set(buckets.frames))
    assert len(buckets.frames) <= 8 * per_doubling
    assert context < buckets.longest <= affordable
    if frames <= buckets.longest:
        size = buckets.frames_for(frames)
        assert size >= frames
        batch = buckets.batch_for(rows, size)
        assert batch in BATCH_SIZES
        assert batch == 1 or (batch < 2 * rows and batch * size <= affordable)


@given(
    lengths=st.dictionaries(st.integers(0, 50), st.integers(1, 300), max_size=30), most=st.integers(300, 5000)
)
def test_groups_fill_one_bucket(lengths, most):
    buckets = Buckets((32, 64, 300), most)
    groups = list(groups_within(lengths, most, buckets))
    assert sorted(position for group in groups for position in group) == sorted(lengths)
    for group in groups:
        size = buckets.frames_for(max(lengths[position] for position in group))
        assert len(group) <= max(buckets.batches_for(size))


def test_openvino_compiles_each_bucket_once(tiny_artifact):
    pytest.importorskip("openvino")
    with (
        Vocoder.load(tiny_artifact) as plain,
        Vocoder.load(
            tiny_artifact, provider="openvino", session=SessionConfig(buckets=(32, 64), warm=True)
        ) as warmed,
        Vocoder.load(tiny_artifact, provider="openvino", session=SessionConfig(buckets=(32, 64))) as lazy,
    ):
        prepared = [vocoder._driver._graph.session._session for vocoder in (warmed, lazy)]
        assert [session.prepared_shapes for session in prepared] == [2, 0]
        for frames in (3, 20, 32, 40, 64, 150):
            mel = random_mel(plain, frames)
            for vocoder in (warmed, lazy):
                wanted = plain.vocode(mel).samples
                np.testing.assert_allclose(vocoder.vocode(mel).samples, wanted, rtol=0, atol=1e-4)
        assert [session.prepared_shapes for session in prepared] == [2, 2]
