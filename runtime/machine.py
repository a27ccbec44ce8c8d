"""This machine: processor, number of threads, operating system and Python."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

__all__ = ["Machine", "Processor", "read_processor", "this_machine"]

# Instructions that multiply 8-bit integers and add up in 32 bits, as Linux names them.
_INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm")
# Instructions that multiply BF16 numbers and add up in FP32, as Linux names them; those of Arm are used by no provider.
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
_CPUINFO = Path("/proc/cpuinfo")


class Processor(msgspec.Struct, frozen=True):
    """A CPU.

    Attributes:
        name: Name that the operating system gives it.
        threads: Number of logical processors that this process may use.
        int8_instructions: Instructions that make INT8 graphs fast, such as `avx512_vnni`; may be empty.
        bf16_instructions: Instructions that make BF16 graphs fast, such as `avx512_bf16`; may be empty.
    """

    name: str
    threads: int
    int8_instructions: tuple[str, ...]
    bf16_instructions: tuple[str, ...]


class Machine(msgspec.Struct, frozen=True):
    """A machine on which figures were measured.

    Attributes:
        processor: Name that the operating system gives the processor.
        cores: Number of logical processors.
        system: Operating system and architecture.
        python: Version of Python.
    """

    processor: str
    cores: int
    system: str
    python: str


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        processor=read_processor().name,
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def read_processor(cpuinfo: Path = _CPUINFO) -> Processor:
    """The processor as Linux describes it; elsewhere only what Python knows.

    Args:
        cpuinfo: File in the format of `/proc/cpuinfo`; it may be absent.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    fields = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, re.MULTILINE))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return Processor(
        name=fields.get("model name") or platform.processor() or platform.machine(),
        threads=_usable_threads(),
        int8_instructions=tuple(name for name in _INT8_INSTRUCTIONS if name in flags),
        bf16_instructions=tuple(name for name in _BF16_INSTRUCTIONS if name in flags),
    )


def _usable_threads() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
