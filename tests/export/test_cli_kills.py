"""Signals at random moments of the commands that take long: the status, what is said, and what is left behind."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.toy_artifact import toy_artifact
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.runtime import Artifact, read_audio, write_audio
from voirs_vocoder.runtime.audio import AudioBuffer

KILLS = max(1, int(os.environ.get("VOIRS_TEST_KILLS", "60")) // 30)
"""Number of processes of each command that are stopped."""

# It says when the command line is there: before, signals are Python's own affair.
COMMAND = (
    sys.executable,
    "-c",
    "from voirs_vocoder.export.cli import main; print('begun', flush=True); main()",
)
# Left for readers that opened the artifact before it changed.
KEPT = re.compile(r"/\.versions/([0-9a-f]{64}\.old|manifest\.json)$")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Command -> its arguments, and the seconds within which most of its work is done.
COMMANDS = {
    "stream": (("stream", "art", "speech/a.wav", "-o", "out.flac", "--chunk-frames", "1"), 1.5),
    "export": (("export", "hifigan", "--checkpoint", "checkpoint/g_00000000", "-o", "new"), 6.0),
    "quantize": (("quantize", "art", "--calibration", "speech", "--target", "cpu", "--force"), 6.0),
    "validate": (("validate", "art", "--speech", "speech"), 5.0),
    "tune": (("tune", "art", "--speech", "speech", "--only", "look-ahead"), 5.0),
}


def damaged(root: Path) -> list[str]:
    return [str(error) for _, error in Artifact.open(root).verify() if error is not None]


def noted(root: Path) -> None:
    """Change an artifact, as the next command would."""
    files = {"validation/note.txt": b"changed"}
    change_artifact(root, lambda artifact: (with_files(artifact.manifest, files), files))


def litter(folder: Path, artifacts: set[str]) -> set[str]:
    """Files that belong neither to the artifacts of a folder nor to those that their readers may still need."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for name in artifacts:
        listed = Artifact.open(folder / name).manifest.all_files()
        found -= {f"{name}/{path}" for path in ("manifest.json", ".lock", *(entry.path for entry in listed))}
    return {path for path in found if not KEPT.search(path)}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_stopped_at_random_moments(name, tiny_artifact, tiny_checkpoint, sample_recordings, tmp_path):
    arguments, span_s = COMMANDS[name]
    chance = random.Random(name)  # noqa: S311 - moments, no secrets
    audio = read_audio(sample_recordings[0])
    for number in range(KILLS):
        folder = tmp_path / str(number)
        shutil.copytree(tiny_artifact, folder / "art")
        shutil.copytree(tiny_checkpoint.parent, folder / "checkpoint")
        (folder / "speech").mkdir()
        second = AudioBuffer(audio.samples[:, : audio.sample_rate], audio.sample_rate)
        write_audio(folder / "speech" / "a.wav", second)
        given = litter(folder, {"art"})
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        stopping = chance.choice(SIGNALS)
        time.sleep(chance.uniform(0.05, span_s))
        process.send_signal(stopping)
        _, errors = process.communicate(timeout=60)
        # Validation fails for a model that is not trained.
        finished = (0, 1) if name == "validate" else (0,)
        assert process.returncode in (128 + stopping, *finished), errors
        assert "Traceback" not in errors
        assert "Exception ignored" not in errors
        assert damaged(folder / "art") == []
        noted(folder / "art")
        if name == "stream":
            assert (folder / "out.flac").exists() == (process.returncode == 0)
        if name == "export":
            assert (folder / "new").exists() == (process.returncode == 0)
            if process.returncode == 0:
                assert damaged(folder / "new") == []
                noted(folder / "new")
            else:
                toy_artifact(folder / "new")
        expected = given | ({"out.flac"} & {path.name for path in folder.iterdir()})
        assert litter(folder, {"art", "new"} if name == "export" else {"art"}) == expected
        assert {path.name for path in folder.iterdir()} <= {"art", "new", "checkpoint", "speech", "out.flac"}
