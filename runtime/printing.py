"""Printing for people: results on standard output, where their loss is an error, remarks on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.text import printable

__all__ = [
    "OutputPipeClosedError",
    "mention",
    "output_errors",
    "remark",
    "say",
    "say_json",
    "standard_output",
    "write_control",
]


class OutputPipeClosedError(Exception):
    """The reader of standard output, such as `head`, has closed the pipe. Not an OSError, which click would catch."""


def say(*lines: str) -> None:
    """Print lines on standard output.

    Args:
        *lines: Text without line breaks; a character that a terminal obeys is escaped. None prints an empty line.

    Raises:
        InputError: Standard output is closed or full.
        OutputPipeClosedError: Standard output is a pipe that nobody reads.
    """
    _print("".join(f"{printable(line)}\n" for line in lines or ("",)))


def mention(*lines: str) -> None:
    """Print lines about a result that is elsewhere, such as a file; where standard output is lost, so are they.

    Args:
        *lines: Text without line breaks; a character that a terminal obeys is escaped.
    """
    with suppress(InputError, OutputPipeClosedError):
        say(*lines)


def say_json(document: bytes) -> None:
    """Print a JSON document on standard output.

    Args:
        document: UTF-8 text of the document, with a line break at its end. A character that a terminal obeys is
            escaped as JSON has it.

    Raises:
        InputError: Standard output is closed or full.
        OutputPipeClosedError: Standard output is a pipe that nobody reads.
    """
    lines = document.decode().split("\n")
    _print("\n".join(line if printable(line) == line else _json_escaped(line) for line in lines))


def remark(*lines: str) -> None:
    """Print lines on standard error; where it is closed or full, they are lost, and the work goes on.

    Args:
        *lines: Text without line breaks; a character that a terminal obeys is escaped.
    """
    write_control("".join(f"{printable(line)}\n" for line in lines))


def write_control(text: str) -> None:
    """Write text on standard error as it is, control characters included; never raises.

    Args:
        text: Text of our own.
    """
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def standard_output() -> BinaryIO:
    """Standard output for bytes; write to it within `output_errors`.

    Raises:
        InputError: Standard output is closed.
    """
    if sys.stdout is None:
        raise InputError(
            "standard output is closed, and its output would be lost; open it, or write to a file"
        )
    return sys.stdout.buffer


@contextmanager
def output_errors() -> Iterator[None]:
    """Turn failures to write on standard output into errors that name it.

    Raises:
        InputError: Standard output is closed or full.
        OutputPipeClosedError: Standard output is a pipe that nobody reads.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise OutputPipeClosedError from error
    except OSError as error:
        raise InputError(
            f"standard output cannot be written: {error.strerror}; free space, or write to another place"
        ) from error


def _print(text: str) -> None:
    stream = sys.stdout
    if stream is None:
        standard_output()
        return
    encoding = stream.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    with output_errors():
        stream.write(text)
        stream.flush()


def _json_escaped(line: str) -> str:
    return "".join(each if printable(each) == each else json.dumps(each)[1:-1] for each in line)
