"""The process around the command line: its signals, and standard streams that are closed or full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMAND = (sys.executable, "-c", "from voirs_vocoder.export.cli import main; main()")
# A command that computes where Python runs no handlers, as an endless graph does, with a file half-written.
ENDLESS = """
import ctypes, sys
from pathlib import Path
from voirs_vocoder.export.cli.process import orderly_signals
from voirs_vocoder.runtime.files import draft_path
with orderly_signals():
    draft_path(Path(sys.argv[1]) / "a.wav").write_bytes(b"half")
    print("begun", flush=True)
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    # The second call waits for itself, and no signal interrupts it.
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
"""

# The signal arrives while libsndfile writes through Python.
SIGNAL_IN_WRITE = """
import os, sys
from voirs_vocoder.runtime.audio import write
number, calls, real = int(sys.argv.pop(1)), [], write._WholeWrites.write
def stopped(self, data):
    calls.append(len(data))
    if len(calls) == 3:
        os.kill(os.getpid(), number)
    return real(self, data)
write._WholeWrites.write = stopped
from voirs_vocoder.export.cli import main
main()
"""
# Python prints and forgets what a finalizer raises.
SIGNAL_IN_FINALIZER = """
import os, sys
from pathlib import Path
from voirs_vocoder.export.cli.process import orderly_signals
from voirs_vocoder.runtime.files import draft_path
class Finalized:
    def __del__(self):
        os.kill(os.getpid(), 15)
with orderly_signals():
    draft_path(Path(sys.argv[1]) / "a.wav").write_bytes(b"half")
    Finalized()
    print("went on")
"""
# A signal that arrives when a module begins to be imported; the exception of the handler comes as another one where
# argument 3 asks for that, as some libraries do it.
SIGNAL_AT_IMPORT = """
import os, sys
module, number, kind = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != module:
            return
        sys.meta_path.remove(self)
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            if kind == "raised":
                raise
            if kind == "converted":
                raise ImportError("cannot be initialized") from error
sys.meta_path.insert(0, Finder())
from voirs_vocoder.export.cli import main
main()
"""


def started(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def wait_for_draft(folder):
    until = time.monotonic() + 30
    while not list(folder.glob(".voirs-*.part")):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_cleanly(number, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 3_000_000), -5.0, np.float32))
    folder = tmp_path / "out"
    folder.mkdir()
    process = started("vocode", tiny_artifact, tmp_path / "mel.npy", "--output", folder / "a.wav")
    wait_for_draft(folder)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert list(folder.iterdir()) == []
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("signals", [1, 2])
def test_a_command_whose_library_swallows_signals_ends_all_the_same(number, signals, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    time.sleep(0.5)  # until it is within the call
    for _ in range(signals):
        process.send_signal(number)
        time.sleep(0.2)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "number", "kind"),
    [
        ("click", signal.SIGINT, "raised"),
        ("click", signal.SIGTERM, "converted"),
        ("voirs_vocoder.export.cli.failure", signal.SIGHUP, "raised"),
        ("numpy", signal.SIGINT, "converted"),
        ("onnxruntime", signal.SIGINT, "converted"),
        ("onnxruntime", signal.SIGHUP, "converted"),
        ("onnxruntime", signal.SIGTERM, "raised"),
    ],
)
def test_a_signal_during_an_import_is_the_status(number, module, kind, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 50), -5.0, np.float32))
    arguments = ["vocode", tiny_artifact, tmp_path / "mel.npy", "--output", tmp_path / "a.wav"]
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_IMPORT, module, str(int(number)), kind, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + number
    assert done.stderr.strip() in ("", "interrupted")
    assert not (tmp_path / "a.wav").exists()


def test_a_signal_that_a_library_swallows_leaves_a_right_result(tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 50), -5.0, np.float32))
    arguments = ["vocode", tiny_artifact, tmp_path / "mel.npy", "--output", tmp_path / "a.wav"]
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_IMPORT, "onnxruntime", "15", "swallowed", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_signal_within_a_write_of_libsndfile_ends_the_command(number, name, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 3000), -5.0, np.float32))
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = ["vocode", tiny_artifact, tmp_path / "mel.npy", "--output", folder / name]
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_IN_WRITE, str(int(number)), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + number
    assert done.stderr.strip() in ("", "interrupted")
    assert list(folder.iterdir()) == []


def test_a_signal_whose_exception_python_only_prints_ends_the_process_at_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_IN_FINALIZER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_after_the_work_changes_nothing(tmp_path):
    at_exit = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGTERM)"
    code = f"from voirs_vocoder.export.cli import main\n{at_exit}\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def run(arguments, shell, cwd):
    """Run the command with redirections of a shell."""
    line = " ".join(f"'{part}'" for part in (*COMMAND, *arguments))
    return subprocess.run(
        ["/bin/bash", "-c", f"{line} {shell}"], capture_output=True, text=True, timeout=60, cwd=cwd
    )


@pytest.mark.parametrize(
    ("shell", "status"),
    [("2>&-", 0), (">&-", 0), (">/dev/full", 0), ("<&-", 0), ("<&- >&- 2>&-", 0)],
)
def test_closed_standard_streams_are_no_obstacle_to_a_file(shell, status, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 50), -5.0, np.float32))
    done = run(
        ["vocode", str(tiny_artifact), str(tmp_path / "mel.npy"), "--output", "a.wav"], shell, tmp_path
    )
    assert done.returncode == status, done.stderr
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_bad_input_is_status_2_even_where_nobody_can_read_why(shell, tmp_path):
    assert run(["vocode", "absent", "absent.npy", "--output", "a.wav"], shell, tmp_path).returncode == 2


def test_a_full_or_closed_output_is_one_line_and_no_traceback(tiny_artifact, tmp_path):
    done = run(["inspect", str(tiny_artifact)], ">/dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    done = run(["inspect", str(tiny_artifact)], "| head -1", tmp_path)
    assert "Traceback" not in done.stderr
    assert os.fspath(tiny_artifact) in done.stdout


def test_nothing_of_a_manifest_reaches_the_terminal_unescaped(tiny_artifact, tmp_path):
    import json
    import shutil

    from click.testing import CliRunner

    from voirs_vocoder.export.cli import main

    shutil.copytree(tiny_artifact, tmp_path / "art")
    manifest = json.loads((tmp_path / "art" / "manifest.json").read_text())
    evil = "\x1b]0;owned\x07 \u202e\nline"
    manifest["licence"] = manifest["variant"] = evil
    manifest["tools"] = {evil: evil}
    (tmp_path / "art" / "manifest.json").write_text(json.dumps(manifest))
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "art")], color=True)
    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\x07", "\u202e"} & set(result.output)
    assert r"\x1b" in result.output


@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["vocode", "--help"],
        ["inspect", "ARTIFACT"],
        ["inspect", "ARTIFACT", "--json"],
        ["stream", "ARTIFACT", "mel.npy", "-o", "-"],
    ],
)
def test_lost_output_is_one_line_that_names_standard_output(shell, arguments, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 500), -5.0, np.float32))
    given = [str(tiny_artifact) if each == "ARTIFACT" else each for each in arguments]
    done = run(given, shell, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["inspect", "ARTIFACT"], ["stream", "ARTIFACT", "mel.npy", "-o", "-"]]
)
def test_a_reader_of_the_output_that_goes_away_is_status_141(arguments, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 500), -5.0, np.float32))
    given = [str(tiny_artifact) if each == "ARTIFACT" else each for each in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *given], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, cwd=tmp_path
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


STREAM = ("stream", "ARTIFACT", "mel.npy", "-o", "a.wav")
# A mel out of its range gives a warning as well.
VOCODE = ("vocode", "ARTIFACT", "mel.npy", "-o", "a.wav", "--quality", "high")


@pytest.mark.parametrize(
    ("kind", "arguments", "made"),
    [
        ("full", STREAM, "a.wav"),
        ("closed", STREAM, "a.wav"),
        ("broken", STREAM, "a.wav"),
        ("full", VOCODE, "a.wav"),
        ("broken", VOCODE, "a.wav"),
    ],
)
def test_a_lost_standard_error_ends_no_work(kind, arguments, made, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 500), 50.0, np.float32))
    given = [str(tiny_artifact) if each == "ARTIFACT" else each for each in arguments]
    if kind == "broken":
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [*COMMAND, *given], stdout=subprocess.PIPE, stderr=writing, text=True, timeout=60, cwd=tmp_path
        )
        os.close(writing)
    else:
        done = run(given, {"full": "2>/dev/full", "closed": "2>&-"}[kind], tmp_path)
    assert done.returncode == 0
    assert (tmp_path / made).stat().st_size > 0


def limited(kind, limit, arguments, cwd):
    """Run the command under a limit of the system."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)),
    )


@pytest.mark.parametrize("megabytes", [32, 64, 96, 120, 160, 200, 240, 300, 4000])
def test_too_little_memory_is_one_line(megabytes, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 50), -5.0, np.float32))
    arguments = ["vocode", str(tiny_artifact), "mel.npy", "-o", "a.wav"]
    done = limited(resource.RLIMIT_AS, megabytes << 20, arguments, tmp_path)
    if megabytes <= 120:
        assert done.returncode == 2
    if done.returncode == 2:
        assert "memory" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob(".voirs*"))


@pytest.mark.parametrize("megabytes", [200, 350, 450])
def test_too_little_memory_for_the_libraries_of_quantize_is_one_line(megabytes, tiny_artifact, tmp_path):
    # SciPy's OpenBLAS would wait forever for its threads.
    arguments = ["quantize", str(tiny_artifact), "--calibration", "absent", "--target", "cpu", "--force"]
    done = limited(resource.RLIMIT_AS, megabytes << 20, arguments, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: not enough memory; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("descriptors", [6, 8, 9, 10, 32])
def test_too_few_descriptors_are_one_line(descriptors, tiny_artifact, tmp_path):
    np.save(tmp_path / "mel.npy", np.full((10, 50), 0.0, np.float32))
    arguments = ["vocode", str(tiny_artifact), "mel.npy", "-o", "a.wav"]
    done = limited(resource.RLIMIT_NOFILE, descriptors, arguments, tmp_path)
    if descriptors == 32:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "open files" in done.stderr
