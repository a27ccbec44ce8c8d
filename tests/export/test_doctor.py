"""`voirs-vocoder doctor`: what it tries, and what it prints about a machine."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator

from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import ProviderError, distribution, doctor
from voirs_vocoder.runtime.distribution import own_requirements, own_version
from voirs_vocoder.runtime.doctor import Package, diagnose
from voirs_vocoder.runtime.gpu import cudnn_version, read_gpu
from voirs_vocoder.runtime.machine import read_processor
from voirs_vocoder.runtime.providers import get_provider
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.trial_graph import TRIAL_PRECISIONS, trial_audio, trial_graph, trial_mel


def run(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.parametrize("precision", TRIAL_PRECISIONS)
def test_the_trial_graphs_are_the_convolutions_that_they_are_said_to_be(precision):
    model = onnx.load_from_string(trial_graph(precision))
    onnx.checker.check_model(model, full_check=True)
    types = {
        tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer
    }
    assert (
        types["weight"]
        == {
            "fp32": "FLOAT",
            "fp16": "FLOAT16",
            "bf16": "BFLOAT16",
            "int8": "INT8",
        }[precision]
    )
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    assert [list(attribute.ints) for attribute in conv.attribute] == [[0, 1, 0, 1]]
    (audio,) = ReferenceEvaluator(model).run(None, {"mel": trial_mel()})
    np.testing.assert_array_equal(audio, trial_audio())


def test_doctor_finds_the_cpu_working_and_gives_a_reason_for_what_does_not():
    text = run("doctor").stdout
    assert re.search(r"^cpu +yes +yes +yes +- +yes +onnxruntime \d", text, re.MULTILINE)
    diagnosis = json.loads(run("doctor", "--json").stdout)
    assert [check["name"] for check in diagnosis["providers"]][:2] == ["cpu", "openvino"]
    for check in diagnosis["providers"]:
        assert check["works"] == (check["problem"] is None)
    assert [each["precision"] for each in diagnosis["providers"][0]["precisions"]] == ["fp32", "fp16", "int8"]


def test_doctor_names_the_precision_that_does_not_work(monkeypatch):
    def open_graph(graph, entry, config):
        if entry.precision == "fp16":
            raise ProviderError("provider 'cpu' does not load the trial graph: cuDNN has no kernel")
        return OrtSession(graph, entry, "cpu", config)

    provider = dataclasses.replace(get_provider("cpu"), open_graph=open_graph)
    monkeypatch.setattr(doctor, "all_providers", lambda: (provider,))
    (check,) = diagnose().providers
    assert [each.problem for each in check.precisions] == [None, "cuDNN has no kernel", None]
    assert (check.works, check.problem) == (False, "fp16: cuDNN has no kernel")
    assert re.search(r"^cpu +no +yes +no +- +yes +fp16: cuDNN", run("doctor").stdout, re.MULTILINE)


def management_library(name):
    """The functions of the driver's management library, for one GPU."""

    def write(**values):
        def function(*arguments):
            for target, value in zip(arguments[-len(values) :], values.values(), strict=True):
                target._obj.value = value
            return 0

        return function

    def write_text(value):
        def function(*arguments):
            arguments[-2].value = value
            return 0

        return function

    def memory(handle, target):
        target._obj.total, target._obj.free = 24 << 30, 20 << 30
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlShutdown=lambda: 0,
        nvmlDeviceGetHandleByIndex_v2=lambda index, handle: index,
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetCudaComputeCapability=write(major=8, minor=9),
        nvmlSystemGetCudaDriverVersion_v2=write(version=13000),
        nvmlDeviceGetName=write_text(b"NVIDIA L4"),
        nvmlSystemGetDriverVersion=write_text(b"580.65.06"),
    )


def test_doctor_reports_the_gpu_its_driver_and_its_memory(monkeypatch):
    gpu = read_gpu(load=management_library)
    assert read_gpu(1, load=management_library) is None
    monkeypatch.setattr(doctor, "all_providers", lambda: ())
    monkeypatch.setattr(doctor, "read_gpu", lambda: gpu)
    monkeypatch.setattr(doctor, "cudnn_version", lambda: "9.19.0")
    text = run("doctor").stdout
    assert "NVIDIA L4, compute capability 8.9, driver 580.65.06 for CUDA 13.0 and before" in text
    assert "20.0 of 24.0 GiB free" in text
    assert re.search(r"^cuDNN +9\.19\.0$", text, re.MULTILINE)


def test_a_machine_without_a_driver_or_cudnn_has_none():
    def missing(name):
        raise OSError(name)

    assert read_gpu(load=missing) is None
    assert cudnn_version(load=missing) is None


def test_version_and_requirements_are_known_in_a_source_tree_without_installed_metadata(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    installed = own_version()
    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(metadata, "requires", missing)
    assert own_version() == installed
    assert 'onnxruntime>=1.22; extra == "cpu"' in own_requirements()
    monkeypatch.setattr(doctor, "all_providers", lambda: ())
    assert {"numpy", "onnxruntime-gpu"} <= {package.name for package in diagnose().packages}
    monkeypatch.setattr(distribution, "_PYPROJECT", Path("nowhere/pyproject.toml"))
    assert (own_version(), own_requirements()) == ("unknown", ())


def test_doctor_does_not_believe_a_provider_that_computes_wrongly(monkeypatch):
    class Wrong:
        backend = "wrong 1.0"

        def run(self, inputs):
            return {"audio": inputs["mel"]}

        def close(self):
            pass

    provider = dataclasses.replace(get_provider("cpu"), open_graph=lambda graph, entry, config: Wrong())
    monkeypatch.setattr(doctor, "all_providers", lambda: (provider,))
    (check,) = diagnose().providers
    assert not check.works
    assert "wrongly" in check.problem


def test_doctor_warns_when_both_builds_of_onnxruntime_are_installed(monkeypatch):
    both = (Package("onnxruntime", "cpu", "1.0"), Package("onnxruntime-gpu", "gpu", "1.0"))
    monkeypatch.setattr(doctor, "_packages", lambda: both)
    assert "uninstall both" in run("doctor").stdout


@pytest.mark.parametrize(
    ("text", "name", "instructions"),
    [
        ("model name\t: Xeon\nflags\t\t: fpu avx512_vnni amx_int8\n", "Xeon", ("avx512_vnni", "amx_int8")),
        ("model name\t: Old\nflags\t\t: fpu sse2\n", "Old", ()),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", None, ("asimddp",)),
    ],
)
def test_doctor_reads_the_processor(tmp_path, text, name, instructions):
    (tmp_path / "cpuinfo").write_text(text)
    processor = read_processor(tmp_path / "cpuinfo")
    assert processor.int8_instructions == instructions
    assert processor.threads >= 1
    assert name in (None, processor.name)


def test_doctor_manages_where_there_is_no_cpuinfo(tmp_path):
    assert read_processor(tmp_path / "absent").int8_instructions == ()


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_bf16\n", ("avx512_bf16", "amx_bf16")),
        ("flags\t\t: fpu avx512_vnni\n", ()),
        ("Features\t: fp asimd bf16\n", ()),
    ],
)
def test_doctor_reads_whether_the_processor_computes_in_bf16(tmp_path, text, instructions):
    (tmp_path / "cpuinfo").write_text(text)
    assert read_processor(tmp_path / "cpuinfo").bf16_instructions == instructions


@pytest.mark.parametrize("instructions", [(), ("avx512_bf16",)])
def test_doctor_states_whether_bf16_graphs_run(monkeypatch, instructions):
    processor = msgspec.structs.replace(read_processor(), bf16_instructions=instructions)
    monkeypatch.setattr(doctor, "read_processor", lambda: processor)
    monkeypatch.setattr(doctor, "all_providers", lambda: ())
    wanted = "avx512_bf16: provider openvino runs" if instructions else "no BF16 instructions"
    assert re.search(rf"^BF16 on CPU +{wanted}", run("doctor").stdout, re.MULTILINE)
