"""What libmpg123 prints on standard error while it decodes: kept from the terminal, and read as news of damage."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["mpg123_errors"]

_STDERR = 2
_MARKS = (b"[src/libmpg123/", b"Note: ", b"Warning: ")
_ERROR = b" error: "
_MAX_REASON = 100
# Standard error belongs to the process, so that one decoder at a time may divert it.
_diverted = threading.Lock()


@contextmanager
def mpg123_errors() -> Iterator[list[str]]:
    """Divert standard error, for libmpg123 prints there and offers libsndfile no way to be silent.

    Yields:
        List that is empty within the block, and has the errors of libmpg123 behind it. Lines of others, such as those
        of other threads, are printed behind the block.
    """
    errors: list[str] = []
    with _diverted:
        try:
            kept = os.dup(_STDERR)
        except OSError:
            # Closed: nothing can be printed there.
            yield errors
            return
        try:
            with tempfile.TemporaryFile() as said:
                os.dup2(said.fileno(), _STDERR)
                try:
                    yield errors
                finally:
                    os.dup2(kept, _STDERR)
                said.seek(0)
                lines = said.read().splitlines(keepends=True)
        finally:
            os.close(kept)
    errors += [
        line.rpartition(_ERROR)[2].decode("ascii", "replace").strip(" .!\n")[:_MAX_REASON]
        for line in lines
        if line.startswith(_MARKS[0]) and _ERROR in line
    ]
    others = b"".join(line for line in lines if line.strip() and not line.startswith(_MARKS))
    if others:
        # Standard error may be full; the recording is read all the same.
        with suppress(OSError):
            os.write(_STDERR, others)
