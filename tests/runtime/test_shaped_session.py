"""Sessions that are prepared once for each set of shapes, tried on the CPU; on a GPU `make gpu` tries them."""

from __future__ import annotations

import dataclasses
import gc
import threading

import numpy as np
import pytest

from voirs_vocoder.runtime import Artifact, ProviderError, SessionConfig, Vocoder
from voirs_vocoder.runtime.providers import open_session
from voirs_vocoder.runtime.providers.bound_session import BoundSession
from voirs_vocoder.runtime.providers.cuda import open_shaped
from voirs_vocoder.runtime.providers.cuda_tuning import default_cuda_options, ort_cuda_options
from voirs_vocoder.runtime.providers.device_memory import Device
from voirs_vocoder.runtime.providers.onnxruntime import CPU
from voirs_vocoder.runtime.providers.ort_errors import explained, is_out_of_memory


def shaped(root, role="offline", **config):
    artifact = Artifact.open(root)
    entry = artifact.graph(role, "fp32", None)
    session = open_shaped(
        artifact.read_graph(entry), entry, SessionConfig(**config), artifact.manifest.hop_length, "cpu"
    )
    return session, artifact


def mel_of(frames, seed=0, batch=1):
    return np.random.default_rng(seed).uniform(-10.0, 1.0, (batch, 10, frames)).astype(np.float32)


@pytest.fixture
def shaped_cpu(monkeypatch):
    """The provider `cpu`, with every graph in a session per set of shapes; yields the sessions that were opened."""
    opened = []

    def open_artifact(artifact, entry, config):
        hop_length = artifact.manifest.hop_length
        opened.append(open_shaped(artifact.read_graph(entry), entry, config, hop_length, "cpu"))
        return opened[-1]

    row = dataclasses.replace(CPU, open_artifact=open_artifact, prepares_shapes=True)
    monkeypatch.setattr("voirs_vocoder.runtime.providers.PROVIDERS", (row,))
    return opened


def test_every_shape_gives_what_a_session_for_all_shapes_gives(tiny_artifact):
    session, artifact = shaped(tiny_artifact)
    usual, _ = open_session(artifact, "offline", "fp32", "cpu", SessionConfig())
    for frames in (5, 17, 5):
        mel = mel_of(frames, frames)
        wanted = usual.run({"mel": mel})["audio"]
        np.testing.assert_allclose(session.run({"mel": mel})["audio"], wanted, atol=1e-6)
    assert session.built_shapes == 2


def test_a_device_with_a_thread_of_its_own_is_used_by_that_thread_only(tiny_artifact, monkeypatch):
    monkeypatch.setattr("voirs_vocoder.runtime.providers.cuda.CPU_DEVICE", Device("cpu", has_own_thread=True))
    used = set()
    original = BoundSession.execute
    monkeypatch.setattr(
        BoundSession, "execute", lambda self: used.add(threading.get_ident()) or original(self)
    )
    session, artifact = shaped(tiny_artifact)
    mel, results = mel_of(9), []
    threads = [
        threading.Thread(target=lambda: results.append(session.run({"mel": mel})["audio"])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usual, _ = open_session(artifact, "offline", "fp32", "cpu", SessionConfig())
    for result in results:
        np.testing.assert_allclose(result, usual.run({"mel": mel})["audio"], atol=1e-6)
    assert len(results) == 4
    assert len(used) == 1
    assert not used & {threading.get_ident(), *(thread.ident for thread in threads)}


def test_a_lost_device_is_said_and_the_next_run_prepares_everything_again(tiny_artifact, monkeypatch):
    session, _ = shaped(tiny_artifact)
    mel = mel_of(9)
    wanted = session.run({"mel": mel})["audio"]
    session.run({"mel": mel_of(5)})
    failures = iter([True])
    original = BoundSession.execute

    def execute(self):
        if next(failures, False):
            raise RuntimeError("CUDA failure 719: unspecified launch failure")
        original(self)

    monkeypatch.setattr(BoundSession, "execute", execute)
    monkeypatch.setattr("voirs_vocoder.runtime.providers.shaped_session.is_working", lambda device: False)
    with pytest.raises(ProviderError, match=r"what was prepared on it is lost; run again.*CUDA failure 719"):
        session.run({"mel": mel})
    assert session.prepared_shapes == 0
    np.testing.assert_array_equal(session.run({"mel": mel})["audio"], wanted)
    assert session.built_shapes == 3


def test_a_shape_that_was_prepared_before_is_not_prepared_by_its_first_run(tiny_artifact):
    session, _ = shaped(tiny_artifact)
    session.prepare(2, 9)
    session.run({"mel": mel_of(9, batch=2)})
    assert session.built_shapes == 1


def test_results_are_the_callers_own(tiny_artifact):
    session, _ = shaped(tiny_artifact)
    first = session.run({"mel": mel_of(5)})["audio"]
    kept = first.copy()
    session.run({"mel": mel_of(5, 1)})
    np.testing.assert_array_equal(first, kept)


def test_a_shape_is_built_once_however_many_threads_ask_for_it(tiny_artifact):
    session, _ = shaped(tiny_artifact)
    mel, results = mel_of(9), []
    threads = [
        threading.Thread(target=lambda: results.append(session.run({"mel": mel})["audio"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.built_shapes == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_shapes_beyond_the_memory_budget_are_dropped_the_least_recently_used_first(
    tiny_artifact, monkeypatch, caplog
):
    free = iter(range(10**6, 0, -1000))
    monkeypatch.setattr(
        "voirs_vocoder.runtime.providers.shaped_session.free_bytes", lambda device: next(free) * 1024
    )
    session, _ = shaped(tiny_artifact, device_budget_bytes=2 * 1000 * 1024 + 1)
    for frames in (4, 5, 4, 6):
        session.run({"mel": mel_of(frames)})
    assert caplog.text.count("more than device_budget_bytes") == 1
    assert session.prepared_shapes == 2
    assert session.built_shapes == 3
    session.run({"mel": mel_of(4)})
    assert session.built_shapes == 3
    session.run({"mel": mel_of(5)})
    assert session.built_shapes == 4


def test_too_little_memory_drops_what_was_prepared_and_tries_again(tiny_artifact, monkeypatch, caplog):
    session, _ = shaped(tiny_artifact)
    session.run({"mel": mel_of(4)})
    usual, failures = session._open_fixed, iter([True])

    def full(dimensions):
        if next(failures, False):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1")
        return usual(dimensions)

    monkeypatch.setattr(session, "_open_fixed", full)
    session.run({"mel": mel_of(5)})
    assert session.prepared_shapes == 1
    assert "too little memory" in caplog.text


def test_memory_that_does_not_suffice_at_all_is_one_line_with_what_to_do(tiny_artifact, monkeypatch):
    session, _ = shaped(tiny_artifact)
    message = "Failed to allocate memory\nfor requested buffer of size 1"
    monkeypatch.setattr(
        session, "_open_fixed", lambda dimensions: (_ for _ in ()).throw(RuntimeError(message))
    )
    with pytest.raises(ProviderError, match="too little free memory; use shorter buckets") as raised:
        session.run({"mel": mel_of(4)})
    assert "\n" not in str(raised.value)
    assert "batch 1, frames 4" in str(raised.value)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_stream_whose_state_stays_on_the_device_equals_its_offline_pass(tiny_artifact, shaped_cpu):
    mel = mel_of(70)[0]
    with Vocoder.load(tiny_artifact, session=SessionConfig(buckets=())) as vocoder:
        wanted = vocoder.vocode(mel).samples
        with vocoder.open_stream() as stream:
            for _ in range(2):
                pieces = [stream.push(mel[:, start : start + 16]).samples for start in range(0, 64, 16)]
                pieces += [stream.push(mel[:, 64:]).samples, stream.flush().samples]
                np.testing.assert_allclose(np.concatenate(pieces, axis=1), wanted, atol=1e-5)
                stream.reset()


def test_the_state_of_a_stream_is_freed_with_the_stream(tiny_artifact, shaped_cpu):
    with Vocoder.load(tiny_artifact, session=SessionConfig(buckets=())) as vocoder:
        streams = [vocoder.open_stream() for _ in range(4)]
        for stream in streams:
            stream.push(mel_of(16)[0])
        (session,) = (session for session in shaped_cpu if session._resident)
        assert len(session._resident) == 8
        assert session.built_shapes == 1
        for stream in streams:
            stream.close()
        del stream, streams
        gc.collect()
        assert not session._resident


def test_once_warm_no_length_prepares_a_shape(tiny_artifact, shaped_cpu):
    config = SessionConfig(buckets=(32, 64, 128), warm=True)
    with Vocoder.load(tiny_artifact, session=config) as vocoder:
        before = sum(session.built_shapes for session in shaped_cpu)
        for frames in (1, 7, 31, 32, 33, 64, 100, 128, 300):
            vocoder.vocode(mel_of(frames, frames)[0])
        assert sum(session.built_shapes for session in shaped_cpu) == before == 3


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("CUDNN failure: No execution plans support the graph. at resblocks.7", "cuDNN has no kernel"),
        ("CUDA failure 2: out of memory ; GPU=0", "too little free memory"),
        ("CUDA failure 700: an illegal memory access was encountered", "start a new process"),
        ("CUDA driver version is insufficient for CUDA runtime version", "update the NVIDIA driver"),
        ("CUDA failure 101: invalid device ordinal", "no such GPU"),
        ("libcudnn.so.9: cannot open shared object file: No such file or directory", "cuDNN 9 is not installed"),
        ("libcublasLt.so.12: cannot open shared object file", "CUDA 12 is not installed"),
        ("libnvinfer.so.10: cannot open shared object file", "TensorRT 10 is not installed"),
        ("libonnxruntime_providers_cuda.so: undefined symbol: cudnnX", "of another version"),
        ("CUDA failure 900: operation not permitted when stream is capturing", "SessionConfig.cuda_graphs off"),
        ("This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been "
         "explicitly disabled by the user.", "leave a part of the graph to the CPU"),
    ],
)  # fmt: skip
def test_what_a_user_can_do_stands_before_the_whole_text_of_a_backend(text, remedy):
    long = f"{text}\n{'x' * 1000} end"
    line = explained(RuntimeError(long))
    assert remedy in line.split("(")[0]
    assert line.endswith("end)")
    assert "\n" not in line
    assert is_out_of_memory(RuntimeError(text)) == ("memory;" in line and "free" in line)


def ort_options(precision, **config):
    config = SessionConfig(**config)
    return ort_cuda_options(
        default_cuda_options(precision, cuda_graphs=config.cuda_graphs),
        precision,
        device=config.device,
        tf32=config.tf32,
        cuda_graphs=config.cuda_graphs,
    )


def test_fp32_means_fp32_on_cuda_unless_tf32_is_asked_for():
    assert ort_options("fp32")["use_tf32"] == "0"
    assert ort_options("fp32", tf32=True)["use_tf32"] == "1"
    assert ort_options("fp16")["prefer_nhwc"] == "1"
    assert ort_options("fp16", cuda_graphs=False)["enable_cuda_graph"] == "0"


def test_a_shape_without_a_kernel_in_the_usual_layout_is_prepared_in_the_other(tiny_artifact, caplog):
    session, _ = shaped(tiny_artifact)
    usual = session._open_fixed

    def without_kernel(dimensions):
        raise ProviderError("CUDNN_FE failure 8: HEURISTIC_QUERY_FAILED")

    session._open_fixed, session._open_otherwise = without_kernel, usual
    with caplog.at_level("INFO"):
        session.run({"mel": mel_of(4)})
    assert "another memory layout" in caplog.text
    session._open_otherwise = None
    with pytest.raises(ProviderError, match="HEURISTIC_QUERY_FAILED"):
        session.run({"mel": mel_of(5)})
