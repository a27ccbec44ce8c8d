"""The engine runner against a recording stand-in of TensorRT and CUDA; its refusals with a really built engine."""

import ctypes
import gc
import platform
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from voirs_vocoder.runtime.artifact.manifest import EngineEntry, FileEntry, Profile, TensorInfo
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import InputError, ProviderError
from voirs_vocoder.runtime.providers.tensorrt import protocol as tensorrt_protocol
from voirs_vocoder.runtime.providers.tensorrt.engine import EngineSession, open_engine_session
from voirs_vocoder.runtime.providers.tensorrt.flavor import EngineLog, Flavor
from voirs_vocoder.runtime.providers.tensorrt.memory import Cuda, load_cuda
from voirs_vocoder.runtime.providers.tensorrt.profile import nearest_profile

HOP = 4


class Status(Enum):
    cudaSuccess = 0  # noqa: N815 - CUDA's names
    cudaErrorMemoryAllocation = 2  # noqa: N815


@dataclass
class FakeCudaBindings:
    """Stands in for `cuda.bindings.runtime`: device memory is host memory, and every call is recorded."""

    capability: tuple[int, int] = (8, 6)
    devices: int = 1
    failing: str = ""
    calls: list[tuple] = field(default_factory=list)
    memory: dict[int, ctypes.Array] = field(default_factory=dict)
    streams: set[int] = field(default_factory=set)

    cudaError_t = Status  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="within"
    )
    cudaDeviceAttr = SimpleNamespace(  # noqa: N815
        cudaDevAttrComputeCapabilityMajor=0, cudaDevAttrComputeCapabilityMinor=1
    )

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == self.failing:
                return (Status.cudaErrorMemoryAllocation, None)
            result = getattr(self, f"_{name}")(*arguments)
            return (Status.cudaSuccess,) if result is None else (Status.cudaSuccess, result)

        return call if name.startswith("cuda") else object.__getattribute__(self, name)

    def named(self, name):
        return [call for call in self.calls if call[0] == name]

    def _cudaGetDeviceCount(self):  # noqa: N802
        return self.devices

    def _cudaSetDevice(self, _):  # noqa: N802
        return None

    def _cudaDeviceGetAttribute(self, attribute, _):  # noqa: N802
        return self.capability[attribute]

    def _cudaGetDeviceProperties(self, _):  # noqa: N802
        return SimpleNamespace(name=b"Toy GPU\0\0")

    def _cudaDriverGetVersion(self):  # noqa: N802
        return 13040

    def _cudaGetErrorName(self, status):  # noqa: N802
        return status.name.encode()

    def _cudaGetErrorString(self, _):  # noqa: N802
        return b"as the test asked"

    def _cudaStreamCreateWithFlags(self, _):  # noqa: N802
        self.streams.add(77)
        return 77

    def _cudaStreamDestroy(self, stream):  # noqa: N802
        self.streams.remove(stream)

    def _cudaStreamSynchronize(self, stream):  # noqa: N802
        assert stream in self.streams

    def _cudaMalloc(self, size):  # noqa: N802
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _cudaFree(self, address):  # noqa: N802
        del self.memory[address]

    def _cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        for device in {"up": (target,), "down": (source,), "within": (source, target)}[kind]:
            assert size <= len(self.memory[device])
        assert stream in self.streams
        ctypes.memmove(target, source, size)


class FakeContext:
    """Computes audio[b, 0, HOP*t + k] = mel[b, 0, t] + mel[b, 1, t]."""

    def __init__(self, engine):
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_optimization_profile_async(self, profile_index, stream_handle):
        self.engine.calls.append(("profile", profile_index, stream_handle))
        return "profile" not in self.engine.refusing

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return "set_input_shape" not in self.engine.refusing

    def get_tensor_shape(self, _):
        batch, _, frames = self.shapes["mel"]
        return [batch, 1, -1 if "length" in self.engine.refusing else frames * HOP]

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return "set_tensor_address" not in self.engine.refusing

    def execute_async_v3(self, stream_handle):
        self.engine.calls.append(("execute", dict(self.shapes), stream_handle))
        if "execute_async_v3" in self.engine.refusing:
            self.engine.log.write("ERROR", "the kernel\nis broken")
            return False
        count = int(np.prod(self.shapes["mel"]))
        mel = np.array((ctypes.c_float * count).from_address(self.addresses["mel"])).reshape(
            self.shapes["mel"]
        )
        audio = np.repeat(mel.sum(axis=1, keepdims=True), HOP, axis=2).astype(np.float32)
        ctypes.memmove(self.addresses["audio"], audio.ctypes.data, audio.nbytes)
        return True


class FakeEngine:
    num_optimization_profiles = 2
    num_io_tensors = 2

    def __init__(self, log, refusing):
        self.log, self.refusing, self.calls = log, refusing, []

    def get_tensor_name(self, index):
        return ("mel", "audio")[index]

    def get_tensor_dtype(self, name):
        return "HALF" if f"dtype of {name}" in self.refusing else "FLOAT"

    def create_runtime_config(self):
        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: self.calls.append(("memory", strategy))
        )

    def create_execution_context(self, strategy):
        self.calls.append(("context", strategy))
        return None if "context" in self.refusing else FakeContext(self)


class FakeTensorRT:
    """Stands in for the module `tensorrt_rtx`."""

    ExecutionContextAllocationStrategy = SimpleNamespace(ON_PROFILE_CHANGE="on profile change")
    DataType = SimpleNamespace(FLOAT="FLOAT", INT64="INT64")

    def __init__(self, refusing=()):
        self.log = EngineLog()
        self.engine = FakeEngine(self.log, refusing)
        self.runtimes = []

    def Runtime(self, logger):  # noqa: N802
        runtime = SimpleNamespace(
            logger=logger, engine_host_code_allowed=None, deserialize_cuda_engine=self._deserialize
        )
        self.runtimes.append(runtime)
        return runtime

    def _deserialize(self, data):
        if data == b"engine":
            return self.engine
        self.log.write("INFO", "loading")
        self.log.write("ERROR", "magic tag\ndoes not match")
        return None


def toy_profile(batch, frames):
    minimum, optimum, maximum = ({"mel": (b, 2, t)} for b, t in zip(batch, frames, strict=True))
    return Profile(minimum=minimum, optimum=optimum, maximum=maximum)


ENTRY = EngineEntry(
    role="offline",
    precision="fp32",
    backend="tensorrt-rtx",
    backend_version="1.7",
    cuda_version="13",
    operating_system=platform.system().lower(),
    machine=platform.machine(),
    compute_capabilities=(86, 120),
    gpu_name=None,
    driver_version=None,
    flags=(),
    profiles=(toy_profile((1, 1, 1), (1, 4, 8)), toy_profile((1, 2, 4), (4, 16, 32))),
    inputs=(TensorInfo(name="mel", dtype="float32", shape=("batch", 2, "frames")),),
    outputs=(TensorInfo(name="audio", dtype="float32", shape=("batch", 1, "4*frames")),),
    hop_length=HOP,
    graph_sha256="0" * 64,
    file=FileEntry(path="engines/toy.engine", sha256="0" * 64, size_bytes=6),
)


def open_toy(*, refusing=(), bindings=None, data=b"engine", version="1.7", cuda_graphs=True, **changes):
    module, bindings = FakeTensorRT(refusing), bindings or FakeCudaBindings()
    flavor = Flavor("tensorrt-rtx", module, version, "13", object(), module.log)
    entry = msgspec.structs.replace(ENTRY, **changes)
    session = EngineSession(data, entry, cuda_graphs=cuda_graphs, flavor=flavor, cuda=Cuda(bindings, 0))
    return session, module, bindings


def mel_of(batch, frames):
    return np.random.default_rng(frames).normal(size=(batch, 2, frames)).astype(np.float32)


def expected_audio(mel):
    return np.repeat(mel[:, :1] + mel[:, 1:], HOP, axis=2)


def test_the_engines_output_comes_back_on_its_own_stream():
    session, module, bindings = open_toy()
    mel = mel_of(2, 20)
    audio = session.run({"mel": mel})["audio"]
    np.testing.assert_array_equal(audio, expected_audio(mel))
    assert audio.dtype == np.float32
    assert (session.provider, session.backend) == ("tensorrt-engine", "tensorrt-rtx 1.7")
    assert (session.input_names, session.output_names) == (("mel",), ("audio",))
    (stream,) = bindings.streams
    assert module.engine.calls == [
        ("context", "on profile change"),
        ("profile", 1, stream),
        ("execute", {"mel": (2, 2, 20)}, stream),
    ]


def test_an_input_that_is_not_contiguous_is_read_in_its_order():
    mel = np.asfortranarray(mel_of(1, 6))
    np.testing.assert_array_equal(open_toy()[0].run({"mel": mel})["audio"], expected_audio(mel))


def test_each_profile_keeps_one_context():
    session, module, _ = open_toy()
    for frames in (4, 20, 4, 20):
        session.run({"mel": mel_of(1, frames)})
    assert [call[1] for call in module.engine.calls if call[0] == "profile"] == [0, 1]


@pytest.mark.parametrize("name", ["mel", "audio"])
def test_an_engine_of_another_element_type_is_refused(name):
    """Its results would fill the memory of the host in part only."""
    with pytest.raises(ProviderError, match=f"{name} must be float32 as its manifest states, got HALF"):
        open_toy(refusing=(f"dtype of {name}",))


def test_host_code_in_an_engine_is_never_allowed():
    _, module, _ = open_toy()
    assert [runtime.engine_host_code_allowed for runtime in module.runtimes] == [False]


def test_buffers_are_reused_and_grow_only_when_too_small():
    session, _, bindings = open_toy()
    for frames in (4, 3, 4, 2):
        session.run({"mel": mel_of(1, frames)})
    assert len(bindings.named("cudaMalloc")) == 2
    session.run({"mel": mel_of(1, 8)})
    assert len(bindings.named("cudaMalloc")) == 4
    assert len(bindings.memory) == 2


def test_closing_frees_everything_and_ends_the_session():
    session, _, bindings = open_toy()
    with session:
        session.run({"mel": mel_of(1, 8)})
        assert bindings.memory
        assert bindings.streams
    assert not bindings.memory
    assert not bindings.streams
    session.close()
    with pytest.raises(ProviderError, match="the session is closed"):
        session.run({"mel": mel_of(1, 8)})


def test_arrays_that_stay_on_the_gpu_are_not_copied_from_and_to_the_host():
    session, _, bindings = open_toy()
    mel, kept = mel_of(1, 8), np.zeros((1, 1, 8 * HOP), np.float32)
    constant = mel.copy()
    constant.flags.writeable = False
    run = session.bind({"mel": constant}, {"audio": kept}, resident=("audio",))
    bindings.calls.clear()
    for _ in range(2):
        run()
    assert {call[4] for call in bindings.named("cudaMemcpyAsync")} == {"within"}
    assert not bindings.named("cudaMalloc")[2:]
    assert not kept.any()
    assert len(bindings.memory) == 4
    del run, kept, constant
    gc.collect()
    session.run({"mel": mel})
    assert len(bindings.memory) == 2


def test_a_bound_array_is_read_and_written_at_each_run():
    session, _, bindings = open_toy()
    mel, audio = mel_of(1, 8), np.empty((1, 1, 8 * HOP), np.float32)
    run = session.bind({"mel": mel}, {"audio": audio})
    for seed in (1, 2):
        mel[:] = mel_of(1, 8) * seed
        run()
        np.testing.assert_array_equal(audio, expected_audio(mel))
    session.close()
    assert not bindings.memory
    with pytest.raises(ProviderError, match="the session is closed"):
        run()
    with pytest.raises(ProviderError, match="the session is closed"):
        session.bind({"mel": mel}, {"audio": audio})


def test_an_array_of_another_shape_than_the_output_is_refused():
    session, _, _ = open_toy()
    run = session.bind({"mel": mel_of(1, 8)}, {"audio": np.empty((1, 1, 5), np.float32)})
    with pytest.raises(ProviderError, match=r"output audio must be \[1, 1, 5\], got \[1, 1, 32\]"):
        run()


def test_an_array_that_cannot_be_held_leaves_nothing_on_the_gpu():
    session, _, bindings = open_toy()
    arrays = {"mel": mel_of(1, 8)}, {"audio": np.zeros((1, 1, 8 * HOP), np.float32)}
    bindings.failing = "cudaMemcpyAsync"
    with pytest.raises(ProviderError, match="cudaErrorMemoryAllocation"):
        session.bind(*arrays, resident=("audio",))
    bindings.failing = ""
    session.close()
    assert not bindings.memory


@pytest.mark.parametrize("wanted", [True, False])
def test_tensorrt_for_rtx_records_cuda_graphs_unless_they_are_turned_off(monkeypatch, wanted):
    monkeypatch.setattr(
        FakeTensorRT, "CudaGraphStrategy", SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"), raising=False
    )
    session, module, _ = open_toy(cuda_graphs=wanted)
    session.run({"mel": mel_of(1, 8)})
    (settings,) = (call[1] for call in module.engine.calls if call[0] == "context")
    if wanted:
        assert settings.cuda_graph_strategy == "whole"
        assert ("memory", "on profile change") in module.engine.calls
    else:
        assert settings == "on profile change"


def test_results_stay_valid_after_the_next_run():
    session, _, _ = open_toy()
    mel = mel_of(1, 8)
    first = session.run({"mel": mel})["audio"]
    session.run({"mel": mel_of(1, 7)})
    np.testing.assert_array_equal(first, expected_audio(mel))


@pytest.mark.parametrize(
    ("batch", "frames", "index"), [(1, 1, 0), (1, 4, 0), (1, 8, 0), (1, 9, 1), (2, 4, 1), (4, 32, 1)]
)
def test_the_profile_that_fits_with_the_nearest_optimum_is_chosen(batch, frames, index):
    assert nearest_profile(ENTRY.profiles, {"mel": (batch, 2, frames)}) == index


@pytest.mark.parametrize("shape", [(1, 2, 33), (5, 2, 8), (1, 3, 8), (2, 2, 2), (2, 8)])
def test_a_shape_outside_every_profile_is_refused_with_the_ranges(shape):
    session, module, _ = open_toy()
    with pytest.raises(InputError, match=r"mel 1x2x1\.\.8 or mel 1\.\.4x2x4\.\.32") as caught:
        session.run({"mel": np.zeros(shape, np.float32)})
    assert "x".join(map(str, shape)) in str(caught.value)
    assert module.engine.calls == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the engine takes mel, got "),
        ({"mel": mel_of(1, 4), "x": mel_of(1, 4)}, "got mel, x"),
        ({"mel": mel_of(1, 4).astype(np.float64)}, "mel must be float32, got float64"),
    ],
)
def test_wrong_inputs_are_refused(inputs, message):
    with pytest.raises(InputError, match=message):
        open_toy()[0].run(inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend_version": "1.8"}, r"version 1\.8 \(here 1\.7\)"),
        ({"backend": "tensorrt"}, r"backend tensorrt \(here tensorrt-rtx\)"),
        ({"cuda_version": "12"}, r"CUDA 12 \(here 13\)"),
        ({"operating_system": "plan9"}, r"operating system plan9 \(here "),
        ({"machine": "vax"}, r"machine vax \(here "),
        (
            {"compute_capabilities": (89,)},
            r"capabilities 89, GPU 0 \(Toy GPU\) has 86; build an engine for it",
        ),
    ],
)
def test_an_engine_for_another_place_is_refused_before_anything_is_allocated(changes, message):
    bindings = FakeCudaBindings()
    with pytest.raises(ProviderError, match=message):
        open_toy(bindings=bindings, **changes)
    assert not {"cudaSetDevice", "cudaStreamCreateWithFlags", "cudaMalloc"} & {
        call[0] for call in bindings.calls
    }


def test_an_engine_that_is_not_what_the_manifest_says_is_refused():
    with pytest.raises(
        ProviderError, match="audio, mel and 2 profiles, its manifest states audio, mel and 1"
    ):
        open_toy(profiles=ENTRY.profiles[:1])


def test_bytes_that_do_not_load_are_refused_with_what_the_library_said():
    with pytest.raises(ProviderError, match=r"toy\.engine: magic tag does not match; build"):
        open_toy(data=b"garbage")


@pytest.mark.parametrize(
    "step", ["profile", "set_input_shape", "set_tensor_address", "execute_async_v3", "context", "length"]
)
def test_each_step_that_the_library_refuses_is_an_error(step):
    session, _, _ = open_toy(refusing=(step,))
    reason = {
        "execute_async_v3": "execute_async_v3: the kernel is broken",
        "length": "does not know the shape",
    }
    with pytest.raises(ProviderError, match=reason.get(step, step)):
        session.run({"mel": mel_of(1, 4)})


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaMemcpyAsync", "cudaStreamSynchronize", "cudaSetDevice"])
def test_each_cuda_error_is_raised_with_its_name(call):
    session, _, bindings = open_toy()
    bindings.failing = call
    with pytest.raises(ProviderError, match="cudaErrorMemoryAllocation, as the test asked"):
        session.run({"mel": mel_of(1, 4)})


def test_a_session_survives_an_allocation_that_fails():
    session, _, bindings = open_toy()
    session.run({"mel": mel_of(1, 2)})
    bindings.failing = "cudaMalloc"
    with pytest.raises(ProviderError):
        session.run({"mel": mel_of(1, 8)})
    bindings.failing = ""
    mel = mel_of(1, 8)
    np.testing.assert_array_equal(session.run({"mel": mel})["audio"], expected_audio(mel))
    session.close()
    assert not bindings.memory


def test_the_stream_is_waited_for_after_a_failed_execution():
    session, _, bindings = open_toy(refusing=("execute_async_v3",))
    with pytest.raises(ProviderError):
        session.run({"mel": mel_of(1, 4)})
    assert bindings.calls[-1][0] == "cudaStreamSynchronize"


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ProviderError, match=r"CUDA counts 0 devices.*use provider cpu"):
        Cuda(FakeCudaBindings(devices=0), 0)
    with pytest.raises(ProviderError, match="there is no GPU 3: this machine has 1"):
        Cuda(FakeCudaBindings(), 3)


def test_the_gpu_describes_itself():
    cuda = Cuda(FakeCudaBindings(capability=(12, 0)), 0)
    assert (cuda.compute_capability(), cuda.gpu_name(), cuda.driver_version()) == (
        120,
        "Toy GPU",
        "CUDA 13.4",
    )


def test_the_library_has_every_member_that_the_runner_uses():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    real = {
        tensorrt_protocol.TrtModule: rtx,
        tensorrt_protocol.TrtRuntime: rtx.Runtime,
        tensorrt_protocol.TrtEngine: rtx.ICudaEngine,
        tensorrt_protocol.TrtContext: rtx.IExecutionContext,
        tensorrt_protocol.TrtRuntimeConfig: rtx.IRuntimeConfig,
    }
    assert {p.__name__ for p in real} == set(tensorrt_protocol.__all__)
    for typed, cls in real.items():
        used = {*typed.__annotations__, *(name for name in vars(typed) if not name.startswith("_"))}
        assert [name for name in used if not hasattr(cls, name)] == []
    assert hasattr(rtx.ExecutionContextAllocationStrategy, "ON_PROFILE_CHANGE")
    assert hasattr(rtx.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")


def no_gpu() -> str:
    """Why CUDA gives no GPU here; empty when it gives one."""
    try:
        load_cuda()
    except ProviderError as error:
        return str(error)
    return ""


@pytest.fixture
def real_engine(tmp_path):
    """A really built engine for mel [1, 2, 1..64], audio = tanh(mel[:, :1] + mel[:, 1:]) at a hop of 1."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from voirs_vocoder.export.tensorrt.builder import engine_from_onnx
    from voirs_vocoder.export.tensorrt.config import RTX_COMPUTE_CAPABILITIES, EngineConfig, ProfileConfig

    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["mel", "w"], ["c"]), onnx.helper.make_node("Tanh", ["c"], ["audio"])],
        "sum",
        [onnx.helper.make_tensor_value_info("mel", real, ["batch", 2, "frames"])],
        [onnx.helper.make_tensor_value_info("audio", real, ["batch", 1, "frames"])],
        [onnx.numpy_helper.from_array(np.ones((1, 2, 1), np.float32), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "sum.onnx")
    config = EngineConfig("tensorrt-rtx", RTX_COMPUTE_CAPABILITIES, (ProfileConfig(frames=(1, 16, 64)),))
    return engine_from_onnx(tmp_path / "sum.onnx", config, role="offline", precision="fp32", hop_length=1)


@pytest.fixture
def no_gpu_here():
    if not no_gpu():
        pytest.skip("this machine has a GPU, so nothing refuses it")


@pytest.mark.usefixtures("no_gpu_here")
def test_without_a_gpu_a_real_engine_is_refused_with_the_remedy(real_engine):
    with pytest.raises(
        ProviderError, match=r"'tensorrt-engine' needs an NVIDIA GPU and driver.*provider cpu"
    ):
        EngineSession(*real_engine)


def test_a_real_engine_of_another_version_is_refused(real_engine):
    engine, entry = real_engine
    with pytest.raises(ProviderError, match=r"version 1\.0 \(here "):
        EngineSession(engine, msgspec.structs.replace(entry, backend_version="1.0"))


@pytest.mark.usefixtures("no_gpu_here")
def test_what_the_real_library_says_about_an_engine_it_does_not_load_is_passed_on(real_engine):
    engine, entry = real_engine
    with pytest.raises(
        ProviderError, match=r"does not load engines/.*Cuda Runtime.*driver version is insufficient"
    ):
        EngineSession(engine, entry, cuda=Cuda(FakeCudaBindings(), 0))


@pytest.mark.usefixtures("no_gpu_here")
def test_the_real_cuda_library_takes_every_call_and_its_errors_are_raised(monkeypatch):
    from cuda.bindings import runtime

    monkeypatch.setattr(Cuda, "__init__", lambda self, api: setattr(self, "_api", api))
    cuda, array = Cuda(runtime), np.zeros(4, np.float32)
    cuda.device = 0
    for call in (
        cuda.activate,
        cuda.compute_capability,
        cuda.gpu_name,
        cuda.create_stream,
        lambda: cuda.synchronize(5),
        lambda: cuda.destroy_stream(5),
        lambda: cuda.allocate(16),
        lambda: cuda.free(16),
        lambda: cuda.copy_to_device(16, array, 5),
        lambda: cuda.copy_to_host(array, 16, 5),
    ):
        with pytest.raises(ProviderError, match=r"cudaErrorInsufficientDriver|cudaErrorNoDevice"):
            call()


def artifact_with(*entries):
    return SimpleNamespace(engines=lambda *_: entries, read=lambda _: b"engine")


def test_an_artifact_without_an_engine_says_how_to_make_one():
    with pytest.raises(
        ProviderError, match="has no offline fp32 engine; make one with voirs-vocoder build-engine"
    ):
        open_engine_session(artifact_with(), "offline", "fp32", SessionConfig())


def test_of_several_engines_the_one_for_this_gpu_is_loaded(monkeypatch):
    module = FakeTensorRT()
    flavor = Flavor("tensorrt-rtx", module, "1.7", "13", object(), module.log)
    here = "voirs_vocoder.runtime.providers.tensorrt.engine"
    monkeypatch.setattr(f"{here}.load_flavor", lambda _: flavor)
    monkeypatch.setattr(f"{here}.load_cuda", lambda device: Cuda(FakeCudaBindings(), device))
    other = msgspec.structs.replace(ENTRY, compute_capabilities=(75,))
    session = open_engine_session(artifact_with(other, ENTRY), "offline", "fp32", SessionConfig())
    mel = mel_of(1, 4)
    np.testing.assert_array_equal(session.run({"mel": mel})["audio"], expected_audio(mel))
    with pytest.raises(ProviderError, match="built for compute capabilities 75"):
        open_engine_session(artifact_with(other), "offline", "fp32", SessionConfig())


@pytest.mark.gpu
def test_a_real_engine_computes_what_its_graph_says(real_engine):
    reason = no_gpu()
    if reason:
        pytest.skip(reason)
    if load_cuda().compute_capability() not in real_engine[1].compute_capabilities:
        pytest.skip(
            f"TensorRT for RTX builds nothing for compute capability {load_cuda().compute_capability()}"
        )
    with EngineSession(*real_engine) as session:
        for frames in (1, 16, 64, 3):
            mel = mel_of(1, frames)
            audio = session.run({"mel": mel})["audio"]
            np.testing.assert_allclose(audio, np.tanh(mel[:, :1] + mel[:, 1:]), atol=1e-5)


def test_a_capture_keeps_only_what_arrives_inside():
    log = EngineLog()
    log.write("ERROR", "before")
    with log.capture() as messages:
        log.write("WARNING", "a warning")
        log.write("ERROR", "an error")
    log.write("ERROR", "after")
    assert EngineLog.errors(messages) == "an error"
    assert EngineLog.errors([]) == "TensorRT gave no reason"


def test_the_longest_input_is_that_of_the_largest_profile():
    session, _, _ = open_toy()
    assert session.max_frames == 32
