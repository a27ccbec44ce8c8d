"""Failures for want of memory, descriptors or threads, which have nothing to do with what was asked for."""

from __future__ import annotations

import errno

__all__ = ["scarce_resource"]

_MEMORY = "not enough memory; free memory, or raise the limit of the process (ulimit -v)"
_FILES = "too many open files; raise the limit of the process (ulimit -n)"
_THREADS = "no further thread can be started; raise the limits of the process (ulimit -u, ulimit -v)"
_NUMBERS = {errno.ENOMEM: _MEMORY, errno.EMFILE: _FILES, errno.ENFILE: _FILES}
# What is left in the messages of loaders and allocators, whose errors carry no number.
_SIGNS = {
    "failed to map segment from shared object": _MEMORY,
    "cannot allocate memory": _MEMORY,
    "can't allocate memory": _MEMORY,
    "bad_alloc": _MEMORY,
    "bad allocation": _MEMORY,
    "too many open files": _FILES,
    "can't start new thread": _THREADS,
}


def scarce_resource(error: BaseException) -> str | None:
    """What a process had too little of, and how to get more.

    Args:
        error: Any exception. Its causes, and the exceptions that were handled when it was raised, count as well.

    Returns:
        One sentence, such as `not enough memory; free memory, or ...`; None if the exception has another reason.
    """
    seen = set()
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.add(each)
        if isinstance(each, MemoryError):
            return _MEMORY
        if isinstance(each, OSError) and each.errno in _NUMBERS:
            return _NUMBERS[each.errno]
        if isinstance(each, ImportError | OSError | RuntimeError):
            text = str(each).lower()
            found = [message for sign, message in _SIGNS.items() if sign in text]
            if found:
                return found[0]
        each = each.__cause__ or each.__context__
    return None
