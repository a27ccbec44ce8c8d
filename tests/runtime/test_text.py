"""Text from outside is printed on one line, and no terminal obeys it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 音声 🎤 naïve", "plain text, 音声 🎤 naïve"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\r\nlines\ttab", r"two\x0d\x0alines\x09tab"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202egnp.exe", r"abc\u202egnp.exe"),
        ("mod\udce8le", r"mod\xe8le"),
        ("\ud800", r"\ud800"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("क\u200dष", "क\u200dष"),
    ],
)
def test_unprintable_characters_stand_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line_that_utf8_can_encode(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown


@given(st.text(max_size=6000))
def test_the_message_of_an_error_is_one_printable_line_of_bounded_length(text: str) -> None:
    message = str(InputError(text))
    assert message == one_line(text) == one_line(message)
    assert len(message) <= 4000
    assert len(message.splitlines()) <= 1
    assert message.encode().decode() == message


def test_lines_of_a_library_become_one() -> None:
    assert one_line("cannot open:\n  no such file\n") == "cannot open: no such file"
