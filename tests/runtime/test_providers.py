"""Providers: what was asked for runs, or a clear error says why. Nothing is ever run instead."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig
from voirs_vocoder.runtime.artifact.manifest import GraphEntry, GraphFacts, TensorInfo
from voirs_vocoder.runtime.config import default_threads
from voirs_vocoder.runtime.machine import Processor
from voirs_vocoder.runtime.providers import PROVIDERS, get_provider, int8_target, open_session
from voirs_vocoder.runtime.providers import openvino as openvino_provider
from voirs_vocoder.runtime.providers.onnxruntime import OrtSession
from voirs_vocoder.runtime.providers.openvino import OpenVinoSession


@pytest.fixture(scope="module")
def graph():
    weight = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["mel", "w"], ["audio"], pads=[1, 1])],
            "g",
            [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, "frames"])],
            [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 1, "frames"])],
            [onnx.numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    return model.SerializeToString()


@pytest.fixture(scope="module")
def entry(graph):
    return GraphEntry(
        role="offline",
        precision="fp32",
        target=None,
        file=file_entry("graphs/offline.fp32.onnx", graph),
        opset=20,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", 4, "frames")),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=("batch", 1, "frames")),),
        facts=GraphFacts(),
        details={},
    )


def test_openvino_and_onnxruntime_agree(graph, entry):
    mel = np.random.default_rng(1).normal(size=(2, 4, 33)).astype(np.float32)
    outputs = [
        session.run({"mel": mel})["audio"].copy()
        for session in (
            OrtSession(graph, entry, "cpu", SessionConfig(threads=1)),
            OpenVinoSession(graph, entry, SessionConfig()),
        )
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_refused_with_the_reason(graph, entry, provider):
    if get_provider(provider).problem() is None:
        pytest.skip("this machine has it")
    with pytest.raises(
        ProviderError, match=f"provider '{provider}' cannot run: .*(pip install|NVIDIA driver|install the)"
    ):
        get_provider(provider).open_graph(graph, entry, SessionConfig())


def test_a_broken_graph_is_one_line(entry):
    with pytest.raises(ProviderError) as caught:
        OrtSession(b"no graph", entry, "cpu", SessionConfig())
    assert "\n" not in str(caught.value)
    with pytest.raises(ProviderError) as caught:
        OpenVinoSession(b"no graph", entry, SessionConfig())
    assert "\n" not in str(caught.value)


def test_int8_is_refused_where_it_would_run_in_float():
    with pytest.raises(ProviderError, match="no integer convolution"):
        int8_target("cuda")
    assert {int8_target(provider.name) for provider in PROVIDERS if provider.name != "cuda"} == {
        "cpu",
        "tensorrt",
    }


@pytest.mark.parametrize(
    ("provider", "precision", "reason"),
    [
        ("cpu", "int8", r"bf16_floats must be off on provider 'cpu', got True; use .* providers openvino$"),
        ("openvino", "fp32", r"must be off for graphs of precision 'fp32', got True; use precision 'int8'"),
    ],
)
def test_floats_in_bf16_are_refused_where_no_int8_graph_would_round_them(
    tiny_artifact, provider, precision, reason
):
    artifact = Artifact.open(tiny_artifact)
    with pytest.raises(ProviderError, match=reason):
        open_session(artifact, "offline", precision, provider, SessionConfig(bf16_floats=True))


def test_floats_in_bf16_are_refused_on_a_cpu_without_its_instructions(tiny_artifact, monkeypatch):
    plain = Processor("plain", 1, (), ())
    monkeypatch.setattr("voirs_vocoder.runtime.providers.provider.read_processor", lambda: plain)
    artifact = Artifact.open(tiny_artifact)
    with pytest.raises(ProviderError, match=r"bf16_floats must be off here, got True: .* on a CPU with BF16"):
        open_session(artifact, "offline", "int8", "openvino", SessionConfig(bf16_floats=True))


def test_tf32_is_refused_where_a_provider_would_not_compute_in_it(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    with pytest.raises(ProviderError, match=r"tf32 must be off on provider 'cpu', got True; use .* cuda$"):
        open_session(artifact, "offline", "fp32", "cpu", SessionConfig(tf32=True))


@pytest.mark.parametrize(
    ("budget", "free", "expected"),
    [
        (None, 80 << 30, 512 << 20),
        (None, 1 << 30, 256 << 20),
        (None, 0, 1 << 20),
        (None, None, 512 << 20),
        (3 << 20, 80 << 30, 3 << 20),
    ],
)
def test_windows_on_a_gpu_need_a_share_of_its_free_memory(budget, free, expected):
    config = SessionConfig(activation_budget_bytes=budget)
    assert config.activation_bytes(on_gpu=True, free_bytes=free) == expected
    assert config.activation_bytes(on_gpu=False) == (budget or 48 << 20)


_REFUSES = """
import sys
from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig
from voirs_vocoder.runtime.providers import open_session
import onnxruntime
assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
artifact = Artifact.open(sys.argv[1])
for provider in ("cuda", "tensorrt"):
    try:
        session, _ = open_session(artifact, "offline", "fp32", provider, SessionConfig())
    except ProviderError as error:
        print(provider, "refused:", error)
    else:
        print(provider, "ran on", session._session.get_providers())
session, _ = open_session(artifact, "offline", "fp32", "auto", SessionConfig())
print("auto chose", session.provider)
"""


@pytest.mark.slow
def test_onnxruntime_gpu_on_a_machine_without_a_gpu_refuses_instead_of_falling_back(
    tiny_artifact, repository_root, tmp_path_factory
):
    """In an environment of its own, since onnxruntime and onnxruntime-gpu cannot share one."""
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    environment = tmp_path_factory.mktemp("gpu-environment")
    python = environment / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = [python, "-m", "pip", "install", "--quiet", f"{repository_root}[gpu]"]
    subprocess.run(install, check=True, capture_output=True)
    run = subprocess.run(
        [python, "-c", _REFUSES, tiny_artifact],
        check=True,
        capture_output=True,
        text=True,
        cwd=environment,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    lines = run.stdout.splitlines()
    assert lines[0].startswith("cuda refused: provider 'cuda' cannot run: there is no NVIDIA driver")
    assert lines[1].startswith("tensorrt refused: provider 'tensorrt' cannot run: there is no NVIDIA driver")
    assert lines[2] == "auto chose cpu"
    assert run.stderr == ""


def test_a_session_leaves_the_arithmetic_of_its_caller_alone(graph, entry):
    """ONNX Runtime can be told to flush subnormal numbers, and then does so in the caller's thread for good."""
    session = OrtSession(graph, entry, "cpu", SessionConfig())
    session.run({"mel": np.zeros((1, 4, 8), np.float32)})
    assert np.float32(1e-40) * np.float32(1) > 0


@pytest.mark.parametrize(
    ("value", "threads"), [("3", 3), ("2,1", 2), ("", None), ("0", None), ("many", None), (None, None)]
)
def test_the_default_number_of_threads_is_that_of_the_environment(value, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == threads


def test_openvino_makes_its_table_of_types_before_threads_share_it(monkeypatch):
    made = []
    binding = SimpleNamespace(
        Type=SimpleNamespace(f32=SimpleNamespace(to_dtype=lambda: made.append("table")))
    )
    monkeypatch.setattr(openvino_provider, "import_optional", lambda name, **texts: binding)
    assert openvino_provider._import_openvino() is binding
    assert made == ["table"]
