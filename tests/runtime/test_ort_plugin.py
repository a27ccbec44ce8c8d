"""The provider `tensorrt-rtx`: a plugin of ONNX Runtime, registered once per process; tried with a made-up one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from voirs_vocoder.runtime import Artifact, InputError, ProviderError, SessionConfig
from voirs_vocoder.runtime.providers import open_session, ort_plugin, tensorrt_execution
from voirs_vocoder.runtime.providers.device_memory import CPU_DEVICE
from voirs_vocoder.runtime.providers.tensorrt_execution import TENSORRT_RTX

EP_NAME = "NvTensorRTRTXExecutionProvider"
PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"


class FakeDevice:
    """A GPU of the plugin."""

    def __init__(self, ep_name, index):
        self.ep_name, self.index = ep_name, index

    def memory_info(self, kind):
        assert kind == onnxruntime.OrtDeviceMemoryType.DEFAULT
        return SimpleNamespace(device_id=self.index)


class FakeOrt:
    """The module `onnxruntime` with a plugin library that knows a number of GPUs."""

    def __init__(self, gpus=(0,), version="1.31.1", failure=None):
        self.__version__ = version
        self.gpus, self.failure = gpus, failure
        self.registered = []
        self.devices = [SimpleNamespace(ep_name="CPUExecutionProvider")]

    def register_execution_provider_library(self, name, path):
        if self.failure:
            raise RuntimeError(self.failure)
        if path in dict(self.registered).values():
            raise RuntimeError(f"EP library is already registered under {name}")
        self.registered.append((name, path))
        self.devices += [FakeDevice(name, index) for index in self.gpus]

    def get_ep_devices(self):
        return self.devices

    def __getattr__(self, name):
        return getattr(onnxruntime, name)


@pytest.fixture
def plugged(monkeypatch):
    """Puts a FakeOrt, the package of the plugin and a driver into this process."""

    def plug(ort=None, *, package=True, driver=None):
        ort = ort or FakeOrt()
        module = SimpleNamespace(
            __version__="0.5.0",
            __file__="plugin/__init__.py",
            get_ep_name=lambda: EP_NAME,
            get_library_path=lambda: "plugin/library.so",
        )
        monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", module if package else None)
        monkeypatch.setattr(ort_plugin, "import_onnxruntime", lambda: ort)
        monkeypatch.setattr(ort_plugin, "driver_problem", lambda: driver)
        monkeypatch.setattr(ort_plugin, "_libraries", set())
        return ort

    return plug


def opened(root, config=None):
    return open_session(Artifact.open(root), "offline", "fp32", "tensorrt-rtx", config or SessionConfig())


@pytest.mark.parametrize(
    ("ort", "more", "reason"),
    [
        (
            FakeOrt(version="1.24.4"),
            {},
            r"onnxruntime 1\.25 or newer, got 1\.24\.4; pip install -U 'onnxruntime>=1\.25'",
        ),
        (
            FakeOrt(),
            {"package": False},
            rf"needs {PACKAGE}, which is not installed; pip install 'voirs-vocoder\[tensorrt-rtx-ep\]'",
        ),
        (FakeOrt(), {"driver": "there is no NVIDIA driver"}, "there is no NVIDIA driver"),
        (
            FakeOrt(gpus=()),
            {},
            rf"{PACKAGE} knows no GPU of this machine; it runs on GPUs of compute capability 8\.6",
        ),
        (
            FakeOrt(failure="Failed to load library x.so with error:\n undefined symbol: cuInit"),
            {},
            rf"a CUDA, cuDNN or TensorRT library is of another version.*the library of {PACKAGE} does not load",
        ),
    ],
)
def test_a_machine_that_cannot_run_it_is_refused_in_one_line_with_the_reason(
    tiny_artifact, plugged, ort, more, reason
):
    plugged(ort, **more)
    for _ in range(2):
        with pytest.raises(ProviderError, match=rf"provider 'tensorrt-rtx' cannot run: .*{reason}") as raised:
            opened(tiny_artifact)
        assert "\n" not in str(raised.value)
    assert TENSORRT_RTX.problem() in str(raised.value)
    assert len(ort.registered) <= 1


def test_a_gpu_that_the_library_does_not_know_is_refused(tiny_artifact, plugged):
    plugged(FakeOrt(gpus=(0, 2)))
    with pytest.raises(ProviderError, match="runs on the GPUs 0, 2 of this machine, got device 1"):
        opened(tiny_artifact, SessionConfig(device=1))


def test_the_library_is_registered_once_per_process_or_not_where_the_process_did_so(plugged):
    ort = plugged()
    for _ in range(3):
        assert TENSORRT_RTX.problem() is None
    assert ort.registered == [(EP_NAME, "plugin/library.so")]
    theirs = plugged(FakeOrt())
    theirs.register_execution_provider_library(EP_NAME, "elsewhere/library.so")
    assert TENSORRT_RTX.problem() is None
    assert len(theirs.registered) == 1


def test_the_backend_names_both_versions(plugged):
    plugged()
    assert TENSORRT_RTX.backend() == f"onnxruntime 1.31.1 with {PACKAGE} 0.5.0"
    plugged(package=False)
    assert TENSORRT_RTX.backend() is None


class RecordedOrt(FakeOrt):
    """Records how sessions are opened, and runs their graphs on the CPU."""

    def __init__(self):
        super().__init__(gpus=(1, 0))
        self.opened = []
        recorder = self

        class SessionOptions:
            def __init__(self):
                self.real = onnxruntime.SessionOptions()
                self.entries, self.dimensions, self.devices = {}, {}, None

            def add_session_config_entry(self, name, value):
                self.entries[name] = value

            def add_free_dimension_override_by_name(self, name, size):
                self.dimensions[name] = size
                self.real.add_free_dimension_override_by_name(name, size)

            def add_provider_for_devices(self, devices, options):
                self.devices, self.provider_options = devices, options

        class InferenceSession:
            def __init__(self, graph, options, providers=None, **_):
                self.options, self.providers = options, providers
                self.real = onnxruntime.InferenceSession(
                    graph, options.real, providers=["CPUExecutionProvider"]
                )
                recorder.opened.append(self)

            def get_providers(self):
                first = self.providers[0][0] if self.providers else self.options.devices[0].ep_name
                return [first, "CPUExecutionProvider"]

            def __getattr__(self, name):
                return getattr(self.real, name)

        self.SessionOptions, self.InferenceSession = SessionOptions, InferenceSession


@pytest.fixture
def recorded(plugged, monkeypatch):
    """Runs `tensorrt` and `tensorrt-rtx` on the CPU; yields what was opened."""
    ort = plugged(RecordedOrt())
    monkeypatch.setattr(tensorrt_execution, "Device", lambda *_, **__: CPU_DEVICE)
    monkeypatch.setattr(tensorrt_execution, "require_ort", lambda execution: ort)
    return ort.opened


def test_a_session_of_the_plugin_is_strict_has_fixed_shapes_and_records_its_kernels(
    tiny_artifact, recorded, tmp_path
):
    session, entry = opened(tiny_artifact, SessionConfig(engine_cache=tmp_path))
    mel = np.zeros((1, 10, 48), np.float32)
    wanted, _ = open_session(Artifact.open(tiny_artifact), "offline", "fp32", "cpu", SessionConfig())
    np.testing.assert_allclose(
        session.run({"mel": mel})["audio"], wanted.run({"mel": mel})["audio"], atol=1e-5
    )
    assert [each.options.dimensions for each in recorded] == [
        {"batch": 1, "frames": 32},
        {"batch": 1, "frames": 48},
    ]
    for each, frames in zip(recorded, (32, 48), strict=True):
        assert each.providers is None
        assert [device.index for device in each.options.devices] == [0]
        assert each.options.entries["session.disable_cpu_ep_fallback"] == "1"
        folder = tmp_path / entry.file.sha256[:16] / f"batch1-frames{frames}"
        assert each.options.provider_options == {
            "enable_cuda_graph": "1",
            "nv_persistent_context_memory": "1",
            "nv_runtime_cache_path": str(folder),
        }
        assert folder.is_dir()


def test_a_session_of_tensorrt_has_fixed_shapes_a_cache_per_shape_and_records_its_kernels(
    tiny_artifact, recorded, tmp_path
):
    artifact = Artifact.open(tiny_artifact)
    config = SessionConfig(engine_cache=tmp_path / "new", device=1)
    _, entry = open_session(artifact, "offline", "fp32", "tensorrt", config)
    ((name, options),) = recorded[0].providers
    folder = str(tmp_path / "new" / entry.file.sha256[:16] / "batch1-frames32")
    assert name == "TensorrtExecutionProvider"
    assert options == {
        "device_id": "1",
        "trt_fp16_enable": "False",
        "trt_int8_enable": "False",
        "trt_cuda_graph_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": folder,
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_may_use_the_precision_of_the_graph_and_no_other(tiny_artifact, recorded, precision):
    open_session(Artifact.open(tiny_artifact), "offline", precision, "tensorrt", SessionConfig())
    ((_, options),) = recorded[0].providers
    enabled = {name for name in ("fp16", "int8") if options[f"trt_{name}_enable"] == "True"}
    assert enabled == {precision} - {"fp32"}


@pytest.mark.parametrize("provider", ["tensorrt", "tensorrt-rtx"])
def test_without_cuda_graphs_and_a_cache_nothing_is_recorded_or_kept(tiny_artifact, recorded, provider):
    artifact = Artifact.open(tiny_artifact)
    open_session(artifact, "offline", "fp32", provider, SessionConfig(cuda_graphs=False))
    options = recorded[0].providers[0][1] if recorded[0].providers else recorded[0].options.provider_options
    assert {value for name, value in options.items() if name != "device_id"} <= {"0", "False"}
    assert not any("path" in name for name in options)


def test_a_cache_that_cannot_be_made_is_refused(tiny_artifact, recorded, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="engine_cache must be a folder that can be written"):
        opened(tiny_artifact, SessionConfig(engine_cache=tmp_path / "file"))


_REFUSES = """
import sys
from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig
from voirs_vocoder.runtime.providers import get_provider, open_session
import onnxruntime, onnxruntime_ep_nv_tensorrt_rtx as plugin
print(plugin.get_ep_name())
artifact = Artifact.open(sys.argv[1])
for provider in ("tensorrt-rtx", "auto"):
    try:
        session, _ = open_session(artifact, "offline", "fp32", provider, SessionConfig())
        print(session.provider)
    except ProviderError as error:
        print(error)
print(get_provider("tensorrt-rtx").backend())
"""


@pytest.mark.slow
def test_the_real_plugin_on_a_machine_without_a_gpu_is_refused_with_the_reason(
    tiny_artifact, repository_root, tmp_path
):
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    install = [python, "-m", "pip", "install", "--quiet", f"{repository_root}[cpu,tensorrt-rtx-ep]"]
    subprocess.run(install, check=True, capture_output=True)
    run = subprocess.run(
        [python, "-c", _REFUSES, tiny_artifact],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    name, refusal, chosen, backend = run.stdout.splitlines()
    assert name == EP_NAME
    assert refusal == (
        "provider 'tensorrt-rtx' cannot run: there is no NVIDIA driver on this machine (libcuda.so.1 is missing); use "
        "provider cpu"
    )
    assert chosen == "cpu"
    assert f" with {PACKAGE} " in backend
    assert run.stderr == ""
