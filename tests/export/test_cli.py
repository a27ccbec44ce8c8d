"""The command line, from a checkpoint to speech: what it writes, says and exits with."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from voirs_vocoder.export.cli import main
from voirs_vocoder.export.cli.console import console_messages, print_table
from voirs_vocoder.export.cli.engine_profiles import profiles_up_to
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime import Artifact, ProviderError, Vocoder
from voirs_vocoder.runtime.artifact.manifest import decode_manifest
from voirs_vocoder.runtime.progress import ConsoleProgress

RATE = 8000
COMMANDS = (
    "export",
    "quantize",
    "build-engine",
    "validate",
    "compare",
    "tune",
    "vocode",
    "bench",
    "inspect",
    "doctor",
)


def run(*arguments: object, status: int = 0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


def recordings(folder: Path, count: int, seed: int) -> Path:
    """A folder of recordings, one second of noise each."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", rng.normal(0, 0.1, RATE), RATE)
    return folder


@pytest.fixture(scope="session")
def workspace(tiny_checkpoint, tmp_path_factory) -> Path:
    """A checkpoint of random weights, its configuration, and two folders of recordings."""
    folder = tmp_path_factory.mktemp("workspace")
    for source in (tiny_checkpoint, tiny_checkpoint.with_name("config.json")):
        shutil.copy(source, folder)
    recordings(folder / "calibration", 3, seed=1)
    recordings(folder / "speech", 2, seed=2)
    return folder


@pytest.fixture(scope="session")
def exported(workspace) -> Path:
    """An artifact made by `voirs-vocoder export`, in FP32 and FP16."""
    root = workspace / "artifact"
    arguments = ("--checkpoint", workspace / "g_00000000", "--config", workspace / "config.json")
    precisions = ("--precision", "fp32", "--precision", "fp16")
    result = run("export", "hifigan", *arguments, "--output", root, *precisions, "--licence", "CC0-1.0")
    assert "offline.fp16" in result.stdout
    return root


@pytest.fixture
def artifact(exported, tmp_path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "artifact"))


@pytest.fixture
def speech(workspace) -> Path:
    return workspace / "speech"


# --- the frame


def test_the_help_lists_every_command_and_each_has_an_example():
    listing = run("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in listing
        text = run(name, "--help").stdout
        assert text.split("Example", 1)[1].strip("s:\n ").startswith(f"voirs-vocoder {name}")


def test_without_a_command_the_help_is_printed_and_the_status_says_wrong_usage():
    result = run(status=2)
    assert "Usage: voirs-vocoder" in result.stderr
    assert result.stdout == ""


def test_the_version_is_the_packages():
    assert re.fullmatch(r"voirs-vocoder, version \d+\.\d+\.\d+\n", run("--version").stdout)


def test_importing_every_command_imports_no_heavy_library(tmp_path):
    heavy = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt_rtx", "scipy")
    code = (
        "import sys, click\n"
        "from voirs_vocoder.export.cli import main\n"
        "commands = [f'voirs_vocoder.export.cli.{name}' for name in ('export', 'vocode', 'doctor')]\n"
        "early = [name for name in commands if name in sys.modules]\n"
        "names = main.list_commands(click.Context(main))\n"
        "[main.get_command(click.Context(main), name) for name in names]\n"
        f"print(early + [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ProviderError("no such provider"), 2, "error: no such provider"),
        (ExportError("two\n  lines"), 1, "error: two lines"),
        (OSError(28, "No space left on device", "/x"), 2, "error: /x: No space left on device; check"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "error: this command needs torch, which is not installed; pip",
        ),
        (KeyError("x"), 70, "internal error: KeyError: 'x'; set VOIRS_VOCODER_TRACEBACK=1"),
        (AssertionError(), 70, "internal error: AssertionError; set"),
    ],
)
def test_every_error_becomes_one_line_and_its_status(monkeypatch, error, status, line):
    def fails(root, *, public_key=None):
        raise error

    monkeypatch.delenv("VOIRS_VOCODER_TRACEBACK", raising=False)
    monkeypatch.setattr(Artifact, "open", fails)
    result = run("inspect", "anything", status=status)
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_the_traceback_is_shown_when_the_environment_asks_for_it(monkeypatch):
    def fails(root, *, public_key=None):
        raise KeyError("x")

    monkeypatch.setenv("VOIRS_VOCODER_TRACEBACK", "1")
    monkeypatch.setattr(Artifact, "open", fails)
    result = run("inspect", "anything", status=70)
    assert result.stderr.startswith("Traceback")
    assert result.stderr.splitlines()[-1].startswith("internal error: ")


def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "from voirs_vocoder.export.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "vocode", "--help"],
        stdout=write_end, stderr=subprocess.PIPE, cwd=tmp_path, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


# --- what is printed


def test_tables_align_numbers_right_and_wrap_the_last_column(capsys):
    print_table([["name", "MB", "why"], ["a", "3.74", "short"], ["bcd", "12.00", "word " * 40]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["name     MB  why", "----  -----  " + "-" * 87, "a      3.74  short"]
    assert all(len(line) <= 100 for line in lines)
    assert lines[4].startswith(" " * 13 + "word")


def test_progress_that_is_not_on_a_terminal_says_each_message_once(capsys):
    with ConsoleProgress() as progress:
        for done in range(3):
            progress("measuring", done, 3)
        progress("done", 1, 1)
    assert capsys.readouterr().err == "measuring\ndone\n"


def test_progress_on_a_terminal_is_one_line_that_is_wiped(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ConsoleProgress() as progress:
        progress("measuring", 1, 4)
    text = capsys.readouterr().err
    assert "\n" not in text
    assert "[######..................] 1/4  measuring" in text
    assert text.endswith("\r\x1b[K")


def test_our_warnings_are_single_lines_and_other_packages_stay_silent(capsys):
    from voirs_vocoder.runtime import MelRangeWarning

    with console_messages():
        warnings.warn("odd\nvalues", MelRangeWarning, stacklevel=1)
        warnings.warn("for developers", UserWarning, stacklevel=1)
        logging.getLogger("voirs_vocoder.runtime.providers").info("auto chose %s", "cpu")
        logging.getLogger("voirs_vocoder.tensorrt").info("details")
    assert capsys.readouterr().err == "warning: odd values\nnote: auto chose cpu\n"


# --- export, quantize, engines


def test_export_makes_an_artifact_that_verifies(exported):
    artifact = Artifact.open(exported)
    assert [graph.name for graph in artifact.manifest.graphs] == [
        "offline.fp32", "offline.fp16", "stream.fp32", "stream.fp16", "batch.fp32", "batch.fp16",
    ]  # fmt: skip
    assert artifact.manifest.licence == "CC0-1.0"
    assert all(error is None for _, error in artifact.verify())


@pytest.mark.slow
def test_quantize_adds_both_int8_graphs_and_force_replaces_them(artifact, workspace):
    for more in ((), ("--force", "--ranges", "percentile", "--bias-correction", "--rounding", "learned")):
        result = run("quantize", artifact, "--calibration", workspace / "calibration", *more)
        assert "offline.int8.cpu" in result.stdout
        names = [graph.name for graph in Artifact.open(artifact).manifest.graphs]
        assert names[6:] == [
            "offline.int8.cpu", "offline.int8.tensorrt", "stream.int8.cpu", "stream.int8.tensorrt",
            "extrapolator.fp32", "extrapolator.fp16", "extrapolator.int8.cpu", "extrapolator.int8.tensorrt",
            "batch.int8.cpu", "batch.int8.tensorrt",
        ]  # fmt: skip
    shown = " ".join(run("inspect", artifact).stdout.split())
    calibration = Artifact.open(artifact).manifest.calibration
    counts = Counter(segment.chosen_for for segment in calibration.segment_list)
    assert "3 recordings" in shown
    assert f"{counts['silence']} silence, {counts['voiced']} voiced, {counts['unvoiced']} unvoiced" in shown
    assert f"list SHA-256 {calibration.segment_list_sha256}" in shown
    details = Artifact.open(artifact).manifest.graphs[6].details
    chosen = [details[name] for name in ("ranges", "bias_correction", "rounding")]
    assert chosen == ["percentile", True, "learned"]


@pytest.mark.parametrize("given", [("--ranges", "mse"), ("--no-bias-correction",), ("--rounding", "learned")])
def test_export_refuses_settings_of_int8_without_int8(tmp_path, tiny_checkpoint, given):
    result = run("export", "hifigan", tiny_checkpoint, "--output", tmp_path / "out", *given, status=2)
    assert "--ranges, --rounding and --bias-correction are for --precision int8; give it" in result.stderr


@pytest.mark.slow
def test_build_engine_lists_an_engine_for_every_gpu_that_was_named(artifact):
    pytest.importorskip("tensorrt_rtx")
    capabilities = ("--compute-capability", 120, "--compute-capability", 86)
    arguments = ("build-engine", artifact, "--backend", "tensorrt-rtx", "--precision", "fp16", *capabilities)
    result = run(*arguments, "--max-frames", 64)
    assert "sm86 sm120" in result.stdout
    engine, stream, batch = Artifact.open(artifact).manifest.engines
    assert [profile.maximum["lengths"] for profile in batch.profiles] == [(1,), (1,)]
    assert [profile.optimum["mel"] for profile in batch.profiles] == [(1, 10, 32), (1, 10, 64)]
    assert engine.compute_capabilities == (86, 120)
    assert [profile.maximum["mel"] for profile in engine.profiles] == [(1, 10, 64)]
    assert [profile.minimum["mel"] for profile in stream.profiles] == [(1, 10, 16)]
    assert [profile.maximum["mel"] for profile in stream.profiles] == [(1, 10, 16)]
    assert "--force" in run(*arguments, status=2).stderr


@pytest.mark.parametrize(
    ("longest", "frames"),
    [
        (1, [(1, 1, 1)]),
        (100, [(1, 64, 100)]),
        (128, [(1, 64, 128)]),
        (500, [(1, 64, 128), (64, 500, 500)]),
        (4096, [(1, 64, 128), (64, 512, 1024), (512, 2048, 4096)]),
        (9000, [(1, 64, 128), (64, 512, 1024), (512, 2048, 9000)]),
    ],
)
def test_engine_profiles_reach_exactly_to_the_longest_mel(longest, frames):
    profiles = profiles_up_to(longest, max_batch=4)
    assert [profile.frames for profile in profiles] == frames
    assert {profile.batch for profile in profiles} == {(1, 1, 4)}


# --- validate, bench


@pytest.mark.slow
@pytest.mark.parametrize("against", ["fp32", "pytorch"])
def test_validate_records_the_report_and_writes_it_out(artifact, workspace, speech, tmp_path, against):
    checkpoint = ("--checkpoint", workspace / "g_00000000") if against == "pytorch" else ()
    result = run("validate", artifact, "--speech", speech, *checkpoint, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["reference"] == against
    assert report["passed"] is True
    assert ("PyTorch" in result.stdout) == (against == "pytorch")
    recorded = Artifact.open(artifact)
    assert (artifact / "validation" / "report.json").read_bytes() == (tmp_path / "report.json").read_bytes()
    assert all(graph.validation for graph in recorded.manifest.graphs if graph.role == "offline")
    assert all(error is None for _, error in recorded.verify())


@pytest.mark.slow
def test_a_gate_that_fails_gives_status_1_and_names_the_figure(artifact, speech, monkeypatch):
    from voirs_vocoder.export import precisions

    strict = {None: (precisions.Gate("snr_db", "min", 500.0),)}
    fp16 = dataclasses.replace(precisions.get_precision("fp16"), gates=strict)
    monkeypatch.setitem(precisions._table, "fp16", fp16)
    result = run("validate", artifact, "--speech", speech, status=1)
    assert "failed: fp16 on cpu, FP32 twin: snr_db must be at least 500" in result.stdout
    assert result.stderr.count("error") == 0


@pytest.mark.slow
def test_bench_prints_a_table_and_writes_its_report(exported, tmp_path):
    result = run(
        "bench", exported, "--seconds", 0.2, "--pairs", 15, "--threads", 1, "--json", tmp_path / "b.json"
    )
    assert "fp32" in result.stdout
    assert json.loads((tmp_path / "b.json").read_bytes())


# --- vocode


def test_vocoding_a_recording_writes_its_audio_and_one_line(exported, speech, tmp_path):
    result = run("vocode", exported, speech / "0.wav", "-o", tmp_path / "out.wav", "--threads", 1)
    samples, rate = soundfile.read(tmp_path / "out.wav")
    assert (samples.size, rate) == (RATE, RATE)
    assert re.fullmatch(
        r".*out\.wav: 1\.00 s of audio in [\d.]+ s \(RTF [\d.]+\), fp32 on cpu \(onnxruntime [\d.]+\)\n",
        result.stdout,
    )
    assert result.stderr == ""


@pytest.mark.parametrize("window", [(), ("--window-frames", 40)])
def test_vocoding_a_mel_by_windows_equals_the_whole(exported, tmp_path, window):
    mel = np.random.default_rng(0).uniform(-8, 0, (10, 300)).astype(np.float32)
    np.save(tmp_path / "mel.npy", mel)
    run("vocode", exported, tmp_path / "mel.npy", "-o", tmp_path / "out.wav", "--bits", 32, *window)
    samples, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    with Vocoder.load(exported) as vocoder:
        expected = vocoder.vocode(mel).samples[0]
    np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_an_odd_mel_range_is_a_warning_and_audio_is_made_all_the_same(exported, tmp_path):
    np.save(tmp_path / "mel.npy", np.random.default_rng(0).uniform(0, 1, (10, 60)).astype(np.float32))
    result = run("vocode", exported, tmp_path / "mel.npy", "-o", tmp_path / "out.flac")
    assert result.stderr.startswith("warning: mel values lie in [0.0")
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "out.flac").exists()


def test_an_output_is_replaced_when_the_new_one_is_complete(exported, speech, tmp_path):
    (tmp_path / "out.wav").write_bytes(b"old")
    convention = Artifact.open(exported).manifest.mel.id
    more = ("--mel-convention", convention)
    run("vocode", exported, speech / "0.wav", "-o", tmp_path / "out.wav", *more)
    assert soundfile.info(tmp_path / "out.wav").frames == RATE


def test_auto_says_what_it_chose(exported, speech, tmp_path):
    result = run("vocode", exported, speech / "0.wav", "-o", tmp_path / "out.wav", "--provider", "auto")
    assert result.stderr.startswith("note: auto chose provider ")


def test_saturated_samples_are_counted(exported, speech, tmp_path, monkeypatch):
    original = Vocoder.vocode_source

    def louder(self, source, config=None):
        for audio in original(self, source, config):
            audio.samples[:] = 2.0
            yield audio

    monkeypatch.setattr(Vocoder, "vocode_source", louder)
    result = run("vocode", exported, speech / "0.wav", "-o", tmp_path / "out.wav")
    assert result.stdout.endswith(f", {RATE} samples saturated\n")


# --- inspect


def test_inspect_shows_what_an_artifact_is(exported):
    text = run("inspect", exported, "--verify").stdout
    for fact in (
        "hifigan custom",
        "CC0-1.0",
        "8,000 Hz",
        "10 bands",
        "offline.fp32",
        "offline.fp16",
        "verified",
    ):
        assert fact in text
    assert max(map(len, text.splitlines())) <= 100 + len(str(exported))


def test_inspect_as_json_holds_the_manifest(exported):
    document = json.loads(run("inspect", exported, "--verify", "--json").stdout)
    assert document["damaged"] == []
    assert document["verified_files"] == len(Artifact.open(exported).manifest.all_files())
    assert decode_manifest(json.dumps(document["manifest"]).encode(), "x") == Artifact.open(exported).manifest


def test_the_command_is_a_click_group():
    assert isinstance(main, click.Group)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_option_once_under_a_title(name):
    command = main.get_command(click.Context(main), name)
    text = run(name, "--help").stdout
    shown = [max(option.opts, key=len) for option in command.params if not getattr(option, "hidden", False)]
    for flag in (flag for flag in shown if flag.startswith("--")):
        assert len(re.findall(rf"^  (-\w, )?{flag}\b(?!-)", text, re.MULTILINE)) == 1, flag
    titles = re.findall(r"^(\w[^:\n]*):$", text, re.MULTILINE)
    assert titles[0] != "Other"
    assert "Options" in titles or titles[-2:] in (["Other", "Examples"], ["Other", "Example"])


def test_long_help_is_grouped_by_what_options_are_about():
    text = run("vocode", "--help").stdout
    titles = ("Output", "Model and provider", "Quality and cost", "Flow models", "Diffusion models", "Speech")
    places = [text.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    assert text.index("--eta") > text.index("\nDiffusion models:\n")


@pytest.mark.parametrize(
    "arguments", [("vocode", "mel.npy", "-o", "x.wav"), ("stream", "mel.npy", "-o", "x.wav"), ("bench",)]
)
@pytest.mark.parametrize("warm", [False, True])
def test_options_of_prepared_shapes_are_spelled_alike_wherever_they_are_used(
    tiny_artifact, tmp_path, monkeypatch, arguments, warm
):
    sessions = []

    def load(*_, session, **__):
        sessions.append(session)
        raise ProviderError("recorded")

    monkeypatch.setattr(Vocoder, "load", load)
    monkeypatch.chdir(tmp_path)
    np.save("mel.npy", np.zeros((10, 20), np.float32))
    command, *rest = arguments
    if command != "bench":
        rest += ["--engine-cache", "engines"]
    result = CliRunner().invoke(main, [command, str(tiny_artifact), *rest, *(["--warm"] * warm)])
    assert result.output.endswith("recorded\n")
    assert bool(sessions[0].warm) == warm
    assert sessions[0].engine_cache == (None if command == "bench" else Path("engines"))
