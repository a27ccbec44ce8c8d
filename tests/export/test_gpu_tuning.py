"""`tune --only gpu`: what it measures and keeps, tried on the CPU, where all choices are equal."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.tuning import gpu
from voirs_vocoder.export.tuning.gpu import (
    candidate_options,
    default_tuning_file,
    gpu_table,
    record_gpu_tuning,
    tune_gpu,
    tune_shape,
)
from voirs_vocoder.runtime import Artifact, InputError, ProviderError, SessionConfig
from voirs_vocoder.runtime.providers import cuda
from voirs_vocoder.runtime.providers.cuda import open_shaped
from voirs_vocoder.runtime.providers.cuda_tuning import (
    CudaOptions,
    ShapeTuning,
    default_cuda_options,
    read_cuda_tuning,
)
from voirs_vocoder.runtime.providers.shaped_session import ShapedSession

EXHAUSTIVE = CudaOptions(search="exhaustive")


@pytest.fixture
def tune_one(tiny_artifact):
    """Tunes one shape of the batch graph, the choices taking the given times in their order."""
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("batch", "fp32", None)

    def tune(times_ms):
        left = iter(times_ms)
        return tune_shape(
            artifact.read_graph(entry),
            entry,
            SessionConfig(),
            artifact.manifest.hop_length,
            2,
            12,
            provider="cpu",
            measure=lambda run, budget_s: next(left),
        )

    return tune


def test_the_default_choice_is_measured_first_and_no_choice_twice():
    for precision in ("fp32", "fp16"):
        for cuda_graphs in (True, False):
            candidates = candidate_options(precision, cuda_graphs=cuda_graphs)
            assert candidates[0] == default_cuda_options(precision, cuda_graphs=cuda_graphs)
            assert len(set(candidates)) == len(candidates) == (8 if cuda_graphs else 4)


def test_the_fastest_choice_of_a_shape_is_kept(tune_one):
    measured = tune_one([4.0, 3.5, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0])
    tuning = measured.tuning
    assert tuning.options == candidate_options("fp32", cuda_graphs=True)[2]
    assert (tuning.default_ms, tuning.best_ms) == (4.0, 2.0)
    assert (tuning.device, tuning.dimensions["batch"], tuning.dimensions["frames"]) == ("cpu", 2, 12)


def test_a_choice_that_is_hardly_faster_does_not_replace_the_default(tune_one):
    tuning = tune_one([4.0, 3.95, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]).tuning
    assert tuning.options == default_cuda_options("fp32", cuda_graphs=True)
    assert tuning.best_ms == 4.0


def test_choices_that_fail_or_compute_something_else_are_left_out(tune_one, monkeypatch):
    opened = []

    def open_one(graph, entry, config, hop_length, provider, options):
        session = open_shaped(graph, entry, config, hop_length, provider, options)
        run, number = session.run, len(opened)
        opened.append(options)

        def wrong(inputs):
            if number == 1:
                raise ProviderError("no kernel")
            return {name: values * (1.01 if number == 2 else 1.0) for name, values in run(inputs).items()}

        monkeypatch.setattr(session, "run", wrong)
        return session

    monkeypatch.setattr(gpu, "open_shaped", open_one)
    measured = tune_one([4.0, 3.0, 9.0, 9.0, 9.0, 9.0])
    assert len(measured.refused) == 2
    failed, differs = measured.refused.values()
    assert failed == "no kernel"
    assert "within 80 dB, got 40.0" in differs
    assert measured.tuning.options == opened[3]


def test_every_bucket_and_a_chunk_of_streams_are_measured_and_recorded(tiny_artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_median_ms", lambda run, budget_s: 1.0)
    config = SessionConfig(buckets=(32, 48))
    report = tune_gpu(tiny_artifact, "fp32", config, provider="cpu")
    measured = [(shape.role, shape.batch, shape.frames) for shape in report.shapes]
    assert measured == [("batch", 1, 32), ("batch", 1, 48), ("stream", 1, 16)]
    assert [row[0] for row in gpu_table(report)] == ["graph", "batch", "batch", "stream"]

    path = tmp_path / "new" / "gpu.json"
    record_gpu_tuning(path, report)
    first = report.shapes[0].tuning
    faster = msgspec.structs.replace(first, options=EXHAUSTIVE)
    other = msgspec.structs.replace(first, device="another GPU")
    shapes = tuple(msgspec.structs.replace(report.shapes[0], tuning=tuning) for tuning in (faster, other))
    record_gpu_tuning(path, msgspec.structs.replace(report, shapes=shapes))
    kept = read_cuda_tuning(path)
    assert len(kept.shapes) == 4
    choices = kept.choices(first.graph_sha256, "cpu", first.backend, tf32=False)
    assert choices[frozenset({"batch": 1, "frames": 32}.items())] == EXHAUSTIVE
    assert not kept.choices(first.graph_sha256, "cpu", first.backend, tf32=True)


def test_a_session_computes_a_shape_by_the_choice_that_the_file_has_for_it(
    tiny_artifact, tmp_path, monkeypatch
):
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32", None)
    used = []
    monkeypatch.setattr(cuda, "ort_cuda_options", lambda options, *_, **__: used.append(options) or {})
    graph, hop_length = artifact.read_graph(entry), artifact.manifest.hop_length
    plain = open_shaped(graph, entry, SessionConfig(), hop_length, "cpu")
    tuning = ShapeTuning(
        graph_sha256=entry.file.sha256,
        device="cpu",
        backend=plain.backend,
        tf32=False,
        dimensions={"batch": 1, "frames": 7},
        options=EXHAUSTIVE,
        default_ms=2.0,
        best_ms=1.0,
    )
    path = tmp_path / "gpu.json"
    path.write_bytes(msgspec.json.encode({"format_version": 1, "shapes": [tuning]}))
    session = open_shaped(graph, entry, SessionConfig(gpu_tuning=path), hop_length, "cpu")
    for frames in (7, 8):
        session.run({"mel": np.zeros((1, 10, frames), np.float32)})
    assert used == [EXHAUSTIVE, default_cuda_options("fp32", cuda_graphs=True)]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format_version": 2, "shapes": []}', '{"shapes": [{"tf32": 1}]}']
)
def test_a_file_of_choices_that_is_none_is_refused_in_one_line(tiny_artifact, tmp_path, text):
    path = tmp_path / "gpu.json"
    path.write_text(text)
    artifact = Artifact.open(tiny_artifact)
    entry = artifact.graph("offline", "fp32", None)
    with pytest.raises(
        InputError, match="gpu_tuning must be a file that `voirs-vocoder tune` wrote"
    ) as caught:
        open_shaped(b"", entry, SessionConfig(gpu_tuning=path), 16, "cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="gpu_tuning must be"):
        read_cuda_tuning(tmp_path / "missing.json")


def test_the_command_measures_prints_and_keeps_the_choices(tiny_artifact, tmp_path, monkeypatch):
    report = tune_gpu(tiny_artifact, "fp32", SessionConfig(buckets=(32,)), provider="cpu", budget_s=0.0)
    monkeypatch.setattr(gpu, "tune_gpu", lambda root, precision, progress: report)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = CliRunner().invoke(
        main, ["tune", str(tiny_artifact), "--only", "gpu", "--json", str(tmp_path / "report.json")]
    )
    assert done.exit_code == 0, done.stderr
    assert str(default_tuning_file()) in done.stdout
    assert len(read_cuda_tuning(tmp_path / "voirs-vocoder" / "gpu-tuning.json").shapes) == 2
    assert json.loads((tmp_path / "report.json").read_text())["gpu"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "missing option '--speech'"),
        (("--speech", ".", "--gpu-tuning", "x.json"), "--gpu-tuning is for --only gpu"),
    ],
)
def test_options_that_do_not_suit_what_is_tuned_are_refused(tiny_artifact, options, reason):
    result = CliRunner().invoke(main, ["tune", str(tiny_artifact), *options])
    assert result.exit_code == 2
    assert reason in result.stderr


def test_without_a_gpu_the_command_is_one_line(tiny_artifact):
    if cuda.CUDA.problem() is None:
        pytest.skip("this machine has a GPU")
    result = CliRunner().invoke(main, ["tune", str(tiny_artifact), "--only", "gpu"])
    assert result.exit_code == 2
    assert "provider 'cuda' cannot run" in result.stderr


def test_a_default_that_does_not_run_is_an_error(tiny_artifact, monkeypatch):
    def fail(self, inputs):
        raise ProviderError("no kernel at all")

    monkeypatch.setattr(ShapedSession, "run", fail)
    with pytest.raises(ProviderError, match="no kernel at all"):
        tune_gpu(tiny_artifact, "fp32", dataclasses.replace(SessionConfig(), buckets=(32,)), provider="cpu")
