"""One case: a mutated input, read in this process, and what came of it."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import Random, mutated, random_of
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.runtime.errors import VoirsVocoderError

__all__ = ["REFUSED", "SUCCEEDED", "Target", "case_input", "outcome"]

SUCCEEDED, REFUSED = "succeeded", "refused"

_MOST_SECONDS = 10.0
_MAX_MESSAGE = 4000
# These address the authors of code; no input causes them.
_OF_PROGRAMMERS = (ResourceWarning, DeprecationWarning, PendingDeprecationWarning)


@dataclass(frozen=True)
class Target:
    """A reader that anything may be given to.

    Attributes:
        name: Name on the command line, and the beginning of the names of saved inputs.
        seeds: Makes well-formed inputs.
        read: Reads an input, with the path of an empty folder for files; raises one of our errors or nothing.
        tokens: Words of the format.
        finish: Makes a file of a mutated part, such as an archive around it; None takes the mutated bytes.
        cost: Time of a case relative to that of the cheapest target.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    tokens: Sequence[bytes] = ()
    finish: Callable[[Random, bytes], bytes] | None = None
    cost: int = 1


def case_input(target: Target, seeds: Sequence[bytes], number: int) -> bytes:
    """The input of a case. Number -1 - N is seed N as it is.

    Args:
        target: Reader that gets the input.
        seeds: Seeds of the target.
        number: Number of the case.
    """
    random = random_of(target.name, max(number, 0))
    data = seeds[-1 - number] if number < 0 else mutated(random, seeds, target.tokens)
    return data if target.finish is None else target.finish(random, data)


def outcome(target: Target, data: bytes, stderr: int) -> tuple[str, str]:
    """Read an input and judge what happened.

    Args:
        target: Reader that gets the input.
        data: Input.
        stderr: Descriptor of the regular file that standard error goes to.

    Returns:
        `SUCCEEDED`, `REFUSED` or the kind of the failure, and the message.
    """
    said_bytes, started_s = os.fstat(stderr).st_size, time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kind, message = _tried(target, data, Path(folder))
    if os.fstat(stderr).st_size > said_bytes:
        said = os.pread(stderr, 300, said_bytes)
        return "standard error", said.decode(errors="replace")
    for warning in caught:
        if not warning.category.__module__.startswith("voirs_vocoder.") and not issubclass(
            warning.category, _OF_PROGRAMMERS
        ):
            return "warning", f"{warning.category.__name__}: {warning.message}"
    if time.process_time() - started_s > _MOST_SECONDS:
        return "slow", f"took {time.process_time() - started_s:.1f} s; {message}"
    return kind, message


def _tried(target: Target, data: bytes, folder: Path) -> tuple[str, str]:
    try:
        target.read(data, folder)
    except (VoirsVocoderError, ReferenceModelError) as error:
        message = str(error)
        if not message or len(message.splitlines()) != 1 or len(message) > _MAX_MESSAGE:
            return "message", f"{len(message)} characters: {message[:300]!r}"
        return REFUSED, message
    except BaseException as error:  # the verdict: nothing else may come out of a reader
        # Not the text of the error itself, which may be of any size.
        places = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)[-3:]
        ]
        return type(error).__name__, f"{str(error)[:300]} at {' > '.join(places)}"
    return SUCCEEDED, ""
