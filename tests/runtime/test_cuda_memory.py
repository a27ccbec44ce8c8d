"""What stays on a GPU and what is copied, with host memory in the place of a GPU's; on a GPU `make gpu` tries it."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig, StreamingConfig, Vocoder
from voirs_vocoder.runtime.providers import cuda, device_memory, open_session, tensorrt_execution
from voirs_vocoder.runtime.providers.device_memory import Device, DeviceTensor, device_name, free_bytes_of_gpu
from voirs_vocoder.runtime.providers.onnxruntime import CPU
from voirs_vocoder.runtime.providers.ort_library import CPU_EXECUTION
from voirs_vocoder.runtime.providers.tensorrt_execution import TENSORRT

DEVICE = Device("cuda", 1, has_own_thread=True)


class FakeRuntime:
    """The functions of the CUDA runtime, which count what they do; `status` is what copies return."""

    def __init__(self):
        self.copied_bytes = []
        self.threads = set()
        self.locked = set()
        self.free = 8 << 30
        self.status = 0
        self.cudaGetErrorString = self._text
        self.cudaMemcpy, self.cudaMemGetInfo = self._copy, self._memory
        self.cudaHostRegister, self.cudaHostUnregister = self._lock, self._unlock
        self.cudaSetDevice = self._select
        self.cudaStreamSynchronize = lambda value: 0
        self.selected = threading.local()
        self.cudaGetLastError = lambda: 0

    def _select(self, index):
        self.selected.index = index
        return self.status

    def _copy(self, target, source, size, direction):
        assert direction == 4
        assert self.selected.index == DEVICE.index
        self.copied_bytes.append(size.value)
        self.threads.add(threading.get_ident())
        ctypes.memmove(target, source, size.value)
        return self.status

    def _memory(self, free, total):
        if self.status:
            return self.status
        free._obj.value, total._obj.value = self.free, 80 << 30
        return 0

    def _lock(self, address, size, flags):
        self.locked.add(address.value)
        return 0

    def _unlock(self, address):
        self.locked.remove(address.value)
        return 0

    @staticmethod
    def _text(status):
        return b"unspecified launch failure"


class FakeOrt:
    """The module `onnxruntime`, whose values on a GPU are copies in host memory."""

    class OrtValue:
        @staticmethod
        def ortvalue_from_numpy(array, kind="cpu", index=0):
            copied = array if kind == "cpu" else array.copy()
            return onnxruntime.OrtValue.ortvalue_from_numpy(copied)

    def __getattr__(self, name):
        return getattr(onnxruntime, name)


@pytest.fixture
def runtime(monkeypatch):
    """A CUDA runtime, whose GPU is the one that `open_shaped` uses for the provider `cpu`."""
    fake = FakeRuntime()
    monkeypatch.setattr(device_memory, "_cuda_runtime", lambda: fake)
    monkeypatch.setattr(cuda, "CPU_DEVICE", DEVICE)
    monkeypatch.setattr(cuda, "require_ort", lambda execution: FakeOrt())
    return fake


@pytest.fixture
def vocoder(tiny_artifact, runtime, monkeypatch, request):
    """A vocoder on that GPU; a parameter holds more of its `SessionConfig`."""

    def open_artifact(artifact, entry, config):
        hop_length = artifact.manifest.hop_length
        return cuda.open_shaped(artifact.read_graph(entry), entry, config, hop_length, "cpu")

    row = dataclasses.replace(CPU, open_artifact=open_artifact, prepares_shapes=True)
    monkeypatch.setattr("voirs_vocoder.runtime.providers.PROVIDERS", (row,))
    session = SessionConfig(buckets=(32, 64, 128), **getattr(request, "param", {}))
    with Vocoder.load(tiny_artifact, session=session) as vocoder:
        yield vocoder


def wanted_audio(tiny_artifact, mel, monkeypatch):
    with monkeypatch.context() as usual:
        usual.setattr("voirs_vocoder.runtime.providers.PROVIDERS", (CPU,))
        with Vocoder.load(tiny_artifact) as vocoder:
            return vocoder.vocode(mel).samples


def mel_of(frames, seed=0):
    return np.random.default_rng(seed).uniform(-10.0, 1.0, (10, frames)).astype(np.float32)


def test_mel_and_audio_are_the_only_copies_of_a_run(tiny_artifact, runtime):
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32", None)
    hop_length = artifact.manifest.hop_length
    session = cuda.open_shaped(artifact.read_graph(entry), entry, SessionConfig(), hop_length, "cpu")
    mel = mel_of(20)[np.newaxis]
    session.run({"mel": mel})
    runtime.copied_bytes.clear()
    audio = session.run({"mel": mel})["audio"]
    assert runtime.copied_bytes == [mel.nbytes, audio.nbytes]
    usual, _ = open_session(artifact, "offline", "fp32", "cpu", SessionConfig())
    np.testing.assert_allclose(audio, usual.run({"mel": mel})["audio"], atol=1e-6)


def test_many_threads_run_on_one_and_each_gets_its_own_audio(tiny_artifact, vocoder, runtime, monkeypatch):
    mels = [mel_of(20 + 9 * number, number) for number in range(12)]
    expected = [wanted_audio(tiny_artifact, mel, monkeypatch) for mel in mels]
    with ThreadPoolExecutor(6) as pool:
        audios = list(pool.map(lambda mel: vocoder.vocode(mel).samples, mels))
    for audio, wanted in zip(audios, expected, strict=True):
        np.testing.assert_allclose(audio, wanted, atol=1e-5)
    assert len(runtime.threads) == 1
    assert threading.get_ident() not in runtime.threads


def test_the_state_of_a_stream_never_leaves_the_device(tiny_artifact, vocoder, runtime, monkeypatch):
    mel = mel_of(80)
    wanted = wanted_audio(tiny_artifact, mel, monkeypatch)
    artifact = Artifact.open(tiny_artifact)
    state_bytes = 4 * (artifact.graph("stream", "fp32", None).facts.state_size or 0)
    with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=16)) as stream:
        for _ in range(2):
            pieces = [stream.push(mel[:, start : start + 16]).samples for start in range(0, 80, 16)]
            pieces.append(stream.flush().samples)
            np.testing.assert_allclose(np.concatenate(pieces, axis=1), wanted, atol=1e-5)
            stream.reset()
        stream.push(mel[:, :16])
        runtime.copied_bytes.clear()
        stream.push(mel[:, 16:32])
    # Within the device the state is copied in and out; mel, places and audio cross its border.
    assert runtime.copied_bytes.count(state_bytes) == 2
    assert sum(runtime.copied_bytes) - 2 * state_bytes == 4 * 16 * (10 + artifact.manifest.hop_length) + 16


@pytest.mark.parametrize("vocoder", [{"stream_rows": 4}], indirect=True)
def test_streams_that_run_together_keep_their_states_on_the_device(
    tiny_artifact, vocoder, runtime, monkeypatch
):
    mels = [mel_of(40 + 8 * number, number) for number in range(5)]
    expected = [wanted_audio(tiny_artifact, mel, monkeypatch) for mel in mels]
    streaming = StreamingConfig(chunk_frames=16)
    for _ in range(2):
        streams = [vocoder.open_stream(streaming=streaming) for _ in mels]

        def speak(stream, mel):
            for _ in range(2):
                pieces = [stream.push(mel[:, start : start + 11]).samples for start in range(0, 80, 11)]
                audio = np.concatenate([*pieces, stream.flush().samples], axis=1)
                stream.reset()
            return audio

        with ThreadPoolExecutor(len(mels)) as pool:
            audios = list(pool.map(speak, streams, mels))
        for audio, wanted in zip(audios, expected, strict=True):
            np.testing.assert_allclose(audio, wanted, atol=1e-5)
        for stream in streams:
            stream.close()
    artifact = Artifact.open(tiny_artifact)
    state_bytes = 4 * (artifact.graph("stream", "fp32", None).facts.state_size or 0)
    # One row at a time, within the device: never the states of all rows, to or from the host.
    assert runtime.copied_bytes.count(state_bytes)
    assert not runtime.copied_bytes.count(4 * state_bytes)


def test_tensorrt_builds_an_engine_per_shape_and_keeps_states_on_the_device(
    tiny_artifact, runtime, monkeypatch
):
    loaded = []
    load = tensorrt_execution.load_fixed

    def recorded(ort, graph, entry, execution, config, options, dimensions, *, devices):
        loaded.append(dict(dimensions))
        return load(ort, graph, entry, execution, config, {}, dimensions, devices=devices)

    monkeypatch.setattr(tensorrt_execution, "load_fixed", recorded)

    def open_artifact(artifact, entry, config):
        graph, hop_length = artifact.read_graph(entry), artifact.manifest.hop_length
        options = tensorrt_execution._tensorrt_options
        return tensorrt_execution.open_in_engines(
            FakeOrt(), CPU_EXECUTION, options, graph, entry, config, hop_length, device=DEVICE
        )

    mel = mel_of(80)
    wanted = wanted_audio(tiny_artifact, mel, monkeypatch)
    row = dataclasses.replace(TENSORRT, name="cpu", open_artifact=open_artifact, int8_target="cpu")
    monkeypatch.setattr("voirs_vocoder.runtime.providers.PROVIDERS", (row,))
    with Vocoder.load(tiny_artifact) as vocoder:
        for frames in (80, 30, 5, 100):
            audio = vocoder.vocode(np.resize(mel, (10, frames))).samples
        assert audio.shape[1] * 16 == wanted.shape[1] * 20
        np.testing.assert_allclose(vocoder.vocode(mel).samples, wanted, atol=1e-5)
        assert loaded == [{"batch": 1, "frames": 32}, {"batch": 1, "frames": 128}]
        with vocoder.open_stream(streaming=StreamingConfig(chunk_frames=16)) as stream:
            pieces = [stream.push(mel[:, start : start + 16]).samples for start in range(0, 80, 16)]
            pieces.append(stream.flush().samples)
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), wanted, atol=1e-5)
    assert len(loaded) == 3
    assert runtime.copied_bytes


def test_a_closed_session_prepares_nothing_more(tiny_artifact, runtime):
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32", None)
    session = cuda.open_shaped(artifact.read_graph(entry), entry, SessionConfig(), 16, "cpu")
    session.close()
    with pytest.raises(ProviderError, match="this one is closed; load it again"):
        session.prepare(1, 8)


def test_host_memory_is_unlocked_when_a_session_is_closed(runtime):
    tensor = DeviceTensor(FakeOrt(), DEVICE, (1, 1 << 16), np.dtype(np.float32))
    small = DeviceTensor(FakeOrt(), DEVICE, (4,), np.dtype(np.int64))
    inner = DeviceTensor(FakeOrt(), DEVICE, (1, 1 << 16), np.dtype(np.float32), stays_on_device=True)
    assert runtime.locked == {tensor.host.ctypes.data}
    assert inner.host.size == 0
    for each in (tensor, small, inner):
        each.free()
    assert not runtime.locked


@pytest.mark.parametrize("answers", [True, False], ids=["selectable", "not selectable"])
def test_a_device_that_fails_is_one_line_and_is_prepared_again(vocoder, runtime, answers):
    mel = mel_of(30)
    wanted = vocoder.vocode(mel).samples
    runtime.status = 719
    if answers:
        runtime.cudaSetDevice = lambda index: runtime._select(index) * 0
    with pytest.raises(ProviderError, match=r"is lost; run again.*CUDA failure 719: unspecified") as caught:
        vocoder.vocode(mel)
    assert "\n" not in str(caught.value)
    runtime.status = 0
    np.testing.assert_array_equal(vocoder.vocode(mel).samples, wanted)


def test_free_memory_is_that_of_the_gpu_or_unknown(runtime):
    assert free_bytes_of_gpu(0) == 8 << 30
    runtime.status = 100
    assert free_bytes_of_gpu(0) is None


def test_a_device_that_no_driver_knows_is_one_line():
    assert device_name(Device("cpu")) == "cpu"
    if cuda.CUDA.problem() is None:
        pytest.skip("this machine has a GPU")
    with pytest.raises(ProviderError, match=r"use provider cpu|choose another one"):
        device_name(Device("cuda", 99))
