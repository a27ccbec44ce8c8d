"""Engines of an artifact: really built for every precision, listed with all that decides where they may be loaded."""

import json
import shutil

import pytest

from voirs_vocoder.export.cli.engine_profiles import profiles_up_to
from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.tensorrt import EngineConfig, ProfileConfig
from voirs_vocoder.export.tensorrt.shapes import profile_from_inputs
from voirs_vocoder.runtime import Artifact, InputError, ProviderError, SessionConfig, Vocoder
from voirs_vocoder.runtime.drivers.buckets import buckets_for
from voirs_vocoder.runtime.providers.tensorrt.profile import nearest_profile

HOP = 16

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is published for some platforms only")


@pytest.mark.slow
def test_every_precision_becomes_an_engine(artifact_copy):
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=(86, 120))
    build_engines(artifact_copy, config, ("fp32", "fp16", "int8"))
    artifact = Artifact.open(artifact_copy)
    assert all(error is None for _, error in artifact.verify())
    engines = {engine.precision: engine for engine in artifact.manifest.engines if engine.role == "offline"}
    streams = [engine.precision for engine in artifact.manifest.engines if engine.role == "stream"]
    assert streams == ["fp32", "fp16", "int8"]
    assert set(engines) == {"fp32", "fp16", "int8"}
    graphs = {graph.name: graph for graph in artifact.manifest.graphs}
    assert engines["int8"].graph_sha256 == graphs["offline.int8.tensorrt"].file.sha256
    assert engines["fp16"].file.path == "engines/offline.fp16.tensorrt-rtx.sm86-sm120.engine"
    assert engines["fp16"].compute_capabilities == (86, 120)
    with pytest.raises(InputError, match="force=True"):
        build_engines(artifact_copy, config, ("fp16",))
    build_engines(artifact_copy, config, ("fp16",), force=True)
    assert len(Artifact.open(artifact_copy).manifest.engines) == 12


def test_an_engine_in_buckets_has_a_profile_for_each_default_bucket(tiny_artifact):
    """Whatever lengths the runtime chooses, each bucket has one profile that takes it, which is best at it."""
    config = EngineConfig("tensorrt-rtx", (86,), profiles_up_to(4096, max_batch=16)).for_buckets()
    inputs = Artifact.open(tiny_artifact).graph("batch", "fp32", None).inputs
    profiles = tuple(profile_from_inputs(inputs, profile, HOP) for profile in config.profiles)
    usual = buckets_for(SessionConfig(), 4096, 10, 4096, 16)
    for batch, frames in usual.shapes(together=True):
        index = nearest_profile(profiles, {"mel": (batch, 10, frames), "lengths": (batch,)})
        assert profiles[index].optimum == {"mel": (1, 10, frames), "lengths": (1,)}
    assert len(profiles) == len(usual.frames)
    # A memory budget ends the buckets at another length.
    for frames in (1, 31, 33, 1700, 4095):
        index = nearest_profile(profiles, {"mel": (1, 10, frames), "lengths": (1,)})
        assert profiles[index].optimum["mel"][2] == min(size for size in usual.frames if size >= frames)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((1, 64, 100), [(1, 32, 32), (33, 64, 64), (65, 100, 100)]),
        ((1, 1, 1), [(1, 1, 1)]),
        ((256, 256, 256), [(256, 256, 256)]),
        ((40, 50, 150), [(40, 64, 64), (65, 150, 150)]),
    ],
)
def test_profiles_of_buckets_keep_to_the_range_that_was_asked_for(frames, expected):
    config = EngineConfig("tensorrt", profiles=(ProfileConfig(batch=(2, 2, 4), frames=frames),)).for_buckets()
    assert [profile.frames for profile in config.profiles] == expected
    assert {profile.batch for profile in config.profiles} == {(2, 2, 4)}


def test_the_engine_of_a_batch_graph_is_built_with_the_profiles_of_its_buckets(artifact_copy):
    profiles = (ProfileConfig(frames=(1, 32, 48)),)
    config = EngineConfig("tensorrt-rtx", (86,), profiles)
    built = build_engines(artifact_copy, config, ("fp32",))
    optima = {
        engine.role: [profile.optimum["mel"][2] for profile in engine.profiles]
        for engine in built.manifest.engines
    }
    assert {**optima, "offline": [32], "stream": [16], "batch": [32, 48]} == optima


@pytest.mark.slow
def test_an_engine_without_a_gpu_is_refused_and_nothing_runs_instead(artifact_copy):
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=(86,))
    build_engines(artifact_copy, config, ("fp32",))
    try:
        vocoder = Vocoder.load(artifact_copy, provider="tensorrt-engine")
    except ProviderError as error:
        assert "GPU" in str(error)
    else:
        vocoder.close()
        pytest.skip("this machine has a GPU that the engine is for")


def test_a_precision_that_the_artifact_lacks_is_refused(tiny_artifact, tmp_path):
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=(86,))
    root = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    path = root / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["precision"] != "fp16"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ProviderError, match="no graph"):
        build_engines(root, config, ("fp16",))


@pytest.mark.parametrize(
    ("precision", "reason"), [("fp64", "must be one that export makes"), ("bf16", "that GPUs compute")]
)
def test_a_precision_that_no_engine_has_is_refused(precision, reason, tiny_artifact):
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=(86,))
    with pytest.raises(InputError, match=reason):
        build_engines(tiny_artifact, config, (precision,))
