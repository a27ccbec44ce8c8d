"""A provider plugs in: one object takes it to speech, to `doctor`, to `auto` and to the command line."""

import dataclasses
import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.validation.candidates import cpu_candidates
from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig, Vocoder, providers
from voirs_vocoder.runtime.doctor import diagnose
from voirs_vocoder.runtime.providers import Provider, get_provider, open_session, register_provider
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession


class ToySession(OrtSession):
    """ONNX Runtime under another name."""

    def __init__(self, graph, entry, config):
        super().__init__(graph, entry, "cpu", config)
        self.provider = "toy"
        self.backend = "toy 1.0"


TOY = Provider(
    name="toy",
    on_gpu=False,
    problem=lambda: None,
    backend=lambda: "toy 1.0",
    open_graph=ToySession,
    int8_target="cpu",
    auto_rank=1,
    widens_to_fp32=True,
)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """An empty list of registered providers, for this test only."""
    monkeypatch.setattr(providers, "_registered", {})


def mel_of(frames):
    return np.random.default_rng(0).uniform(-8, 0, (10, frames)).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_new_provider_goes_from_an_artifact_to_speech(tiny_artifact, precision):
    register_provider(TOY)
    with Vocoder.load(tiny_artifact, precision=precision) as vocoder:
        expected = vocoder.vocode(mel_of(50)).samples
    with Vocoder.load(tiny_artifact, provider="toy", precision=precision) as vocoder:
        assert (vocoder.metadata.provider, vocoder.metadata.backend) == ("toy", "toy 1.0")
        np.testing.assert_array_equal(vocoder.vocode(mel_of(50)).samples, expected)


def test_doctor_tries_it_behind_those_built_in():
    register_provider(TOY)
    checks = diagnose().providers
    assert [check.name for check in checks] == [*(row.name for row in providers.PROVIDERS), "toy"]
    assert (checks[-1].works, checks[-1].backend) == (True, "toy 1.0")


def test_the_command_line_takes_it_and_its_help_lists_it(tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", mel_of(50))
    command = ["vocode", str(tiny_artifact), str(tmp_path / "mel.npy"), "-o", str(tmp_path / "out.wav")]
    refused = CliRunner().invoke(main, [*command, "--provider", "toy"])
    assert refused.exit_code == 2
    assert "'toy' is not one of" in refused.stderr
    register_provider(TOY)
    done = CliRunner().invoke(main, [*command, "--provider", "toy"])
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.wav").stat().st_size > 44
    for command in ("vocode", "validate"):
        assert "toy" in CliRunner().invoke(main, [command, "--help"]).stdout
    assert "toy" in json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)["providers"][-1]["name"]


@pytest.mark.parametrize(("rank", "chosen"), [(1, "toy"), (299, "toy"), (301, "cpu"), (None, "cpu")])
def test_auto_chooses_it_where_its_rank_says_so(tiny_artifact, rank, chosen):
    if get_provider("cuda").problem() is None:
        pytest.skip("this machine has CUDA, which ranks before the CPU")
    register_provider(dataclasses.replace(TOY, auto_rank=rank))
    session, _ = open_session(Artifact.open(tiny_artifact), "offline", "fp32", "auto", SessionConfig())
    assert session.provider == chosen


def test_validation_measures_what_it_computes(tiny_artifact):
    register_provider(TOY)
    found = [
        candidate.title
        for candidate in cpu_candidates(Artifact.open(tiny_artifact))
        if candidate.backend == "toy"
    ]
    assert sorted(found) == ["fp32 on toy", "int8.cpu on toy"]


def test_a_benchmark_in_fresh_processes_leaves_out_what_they_do_not_know():
    register_provider(TOY)
    assert "toy" in {provider.name for provider in providers.measurable_providers()}
    fresh = providers.measurable_providers(in_other_processes=True)
    assert "toy" not in {provider.name for provider in fresh}


def test_an_installed_package_can_bring_it(monkeypatch):
    entry = EntryPoint("toy", f"{__name__}:TOY", providers.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: TOY)
    monkeypatch.setattr(providers, "_installed", lambda: {"toy": entry})
    assert get_provider("toy") is TOY
    assert providers.provider_names()[-1] == "toy"


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_a_name_is_taken_once(name):
    with pytest.raises(ProviderError, match="must be new"):
        register_provider(dataclasses.replace(TOY, name=name))
    with pytest.raises(ProviderError, match=r"known: auto, cpu, .*tensorrt-engine"):
        get_provider("toy")


def test_a_provider_that_opens_nothing_is_refused():
    with pytest.raises(ProviderError, match="open_graph or open_artifact"):
        dataclasses.replace(TOY, open_graph=None)
