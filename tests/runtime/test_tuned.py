"""Tuned settings: used on the kind of processor that they were measured on, and refused anywhere else."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from click.testing import CliRunner

from tests.helpers import random_mels
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.tuning.machine import record_machine
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError, SessionConfig, Vocoder
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.tuned import (
    TUNED_PATH,
    MeasuredSetting,
    Setting,
    TunedMachine,
    TunedMachines,
    read_tuned,
    tuned_graphs,
    tuned_setting,
)

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

HERE = read_processor()


def measured(artifact, **settings):
    setting = Setting(**{"provider": "cpu", "precision": "fp32", "threads": 1, **settings})
    graphs = tuned_graphs(artifact, setting.precision, setting.provider)
    return MeasuredSetting(setting=setting, graphs=graphs, backend="test")


def machine(settings, best, processor=HERE):
    return TunedMachine(
        processor=processor.name,
        usable_threads=processor.threads,
        date="2026-01-31",
        recordings=1,
        speech_s=1.0,
        settings=tuple(settings),
        best=best,
    )


@pytest.fixture
def tuned_root(tiny_artifact, tmp_path):
    root = shutil.copytree(tiny_artifact, tmp_path / "tuned")
    artifact = Artifact.open(root)
    settings = (
        measured(artifact, precision="int8", threads=2),
        measured(artifact, threads=1, parallel_runs=3),
    )
    record_machine(root, machine(settings, {"latency": 0, "throughput": 1}))
    return root


def test_a_vocoder_is_loaded_with_the_setting_that_was_best(tuned_root):
    with Vocoder.load(tuned_root, tuned="latency") as vocoder:
        assert (vocoder.metadata.provider, vocoder.metadata.precision) == ("cpu", "int8")
    artifact = Artifact.open(tuned_root)
    assert tuned_setting(artifact, "throughput").session == SessionConfig(threads=1, parallel_runs=3)
    mels = random_mels([5, 20, 1, 40])
    with Vocoder.load(tuned_root, tuned="throughput") as vocoder, Vocoder.load(tuned_root) as plain:
        for mel, audio in zip(mels, vocoder.vocode_batch(mels), strict=True):
            assert audio.samples == pytest.approx(plain.vocode(mel).samples, abs=1e-5)


def test_another_processor_is_refused_with_those_that_were_tuned(tuned_root):
    artifact = Artifact.open(tuned_root)
    for other in (
        Processor("Other CPU", HERE.threads, (), ()),
        Processor(HERE.name, HERE.threads + 1, (), ()),
    ):
        with pytest.raises(
            InputError, match=r"must have been tuned on this processor, .*run voirs-vocoder tune"
        ):
            tuned_setting(artifact, "latency", other)
    record_machine(
        tuned_root, machine([measured(artifact)], {"latency": 0}, Processor("Other CPU", 8, (), ()))
    )
    again = Artifact.open(tuned_root)
    assert tuned_setting(again, "latency", Processor("Other CPU", 8, (), ())).precision == "fp32"
    assert tuned_setting(again, "latency").precision == "int8"
    assert len(read_tuned(again).machines) == 2


def test_an_artifact_that_was_never_tuned_is_refused(tiny_artifact):
    with pytest.raises(InputError, match="got no tuning at all; run voirs-vocoder tune"):
        Vocoder.load(tiny_artifact, tuned="latency")


def test_an_objective_must_be_known_and_chosen(tuned_root):
    artifact = Artifact.open(tuned_root)
    with pytest.raises(InputError, match="tuned must be one of latency, throughput, memory, got 'speed'"):
        tuned_setting(artifact, "speed")
    with pytest.raises(InputError, match="chose no setting for memory"):
        tuned_setting(artifact, "memory")


@pytest.mark.parametrize(
    "other", [{"provider": "openvino"}, {"precision": "int8"}, {"session": SessionConfig(threads=1)}]
)
def test_what_tuning_decides_cannot_be_given_as_well(tuned_root, other):
    with pytest.raises(InputError, match="decides provider, precision and session"):
        Vocoder.load(tuned_root, tuned="latency", **other)


def test_a_tuning_of_other_graphs_is_refused(tuned_root):
    artifact = Artifact.open(tuned_root)
    old = msgspec.structs.replace(measured(artifact), graphs=("0" * 64,))
    record_machine(tuned_root, machine([old], {"latency": 0}))
    with pytest.raises(InputError, match="they have changed"):
        Vocoder.load(tuned_root, tuned="latency")


def test_a_machine_that_is_tuned_again_replaces_its_measurements(tuned_root):
    artifact = Artifact.open(tuned_root)
    record_machine(tuned_root, machine([measured(artifact)], {"memory": 0}))
    (only,) = read_tuned(Artifact.open(tuned_root)).machines
    assert only.best == {"memory": 0}


def test_damaged_measurements_are_an_error_of_the_artifact(tuned_root):
    record = read_tuned(Artifact.open(tuned_root)).machines[0]
    record_machine(tuned_root, msgspec.structs.replace(record, best={"latency": 7}))
    with pytest.raises(ArtifactError, match="best must be an index of one of 2 settings, got 7"):
        read_tuned(Artifact.open(tuned_root))
    (tuned_root / TUNED_PATH).write_bytes(msgspec.json.encode(TunedMachines()))
    with pytest.raises(ArtifactError):
        read_tuned(Artifact.open(tuned_root))


@pytest.mark.parametrize("command", ["vocode", "stream"])
def test_the_command_line_uses_the_tuning_and_refuses_what_it_decides(
    tuned_root, sample_recordings, tmp_path, command
):
    output = tmp_path / "out.wav"
    call = [command, str(tuned_root), str(sample_recordings[0]), "-o", str(output), "--tuned", "latency"]
    refused = CliRunner().invoke(main, [*call, "--threads", "1"])
    assert refused.exit_code == 2
    assert "--tuned decides --threads; give one of them" in refused.output
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    assert "int8" in result.output
    assert output.is_file()
