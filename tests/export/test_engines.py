"""Engines of an artifact: really built for every precision, listed with all that decides where they may be loaded."""

import shutil

import pytest

from voirs_vocoder.export.engines import build_engines
from voirs_vocoder.export.tensorrt import EngineConfig
from voirs_vocoder.runtime import Artifact, InputError, ProviderError, Vocoder

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
    with pytest.raises(ProviderError, match="no graph"):
        build_engines(root, config, ("fp64",))
