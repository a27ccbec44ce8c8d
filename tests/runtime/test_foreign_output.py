"""What a C library prints on standard error is no message to the user, unless it is news of damage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from voirs_vocoder.runtime import AudioBuffer
from voirs_vocoder.runtime.audio import read_audio
from voirs_vocoder.runtime.audio.foreign_output import mpg123_errors
from voirs_vocoder.runtime.audio.write import write_audio
from voirs_vocoder.runtime.errors import InputError


def test_errors_are_collected_and_lines_of_others_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with mpg123_errors() as errors:
        os.write(2, b"[src/libmpg123/layer3.c:do():1844] error: dequantization failed!\n")
        os.write(
            2, b"[src/libmpg123/parse.c:do():1083] warning: a one-frame stream?\nNote: Trying to resync...\n"
        )
        os.write(2, b"another thread\n")
    assert errors == ["dequantization failed"]
    assert capfd.readouterr().err == "another thread\n"


def test_standard_error_is_restored_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), mpg123_errors():
        raise ZeroDivisionError
    os.write(2, b"there again\n")
    assert capfd.readouterr().err == "there again\n"


def test_damage_inside_the_frames_of_an_mp3_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speech.mp3"
    noise = 0.3 * np.random.default_rng(0).standard_normal((1, 16000)).clip(-3, 3)
    write_audio(path, AudioBuffer(noise.astype(np.float32), 16000))
    data = bytearray(path.read_bytes())
    for place in range(1000, len(data) - 100, 7):
        # No byte of a frame's header, whose first is 0xff.
        if 0xFF not in data[place - 4 : place + 4]:
            data[place] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged after sample"):
        read_audio(path)
    assert capfd.readouterr().err == ""
