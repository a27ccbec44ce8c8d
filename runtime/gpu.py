"""NVIDIA GPUs as their driver describes them, through its management library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Gpu", "cudnn_version", "read_gpu"]

_TEXT_BYTES = 96


class Gpu(msgspec.Struct, frozen=True):
    """An NVIDIA GPU.

    Attributes:
        name: Name of the GPU, such as `NVIDIA L4`.
        compute_capability: Compute capability, such as `8.9`.
        driver: Version of the driver, such as `580.65.06`.
        cuda: Latest CUDA version that the driver supports, such as `13.0`.
        memory_bytes: Memory of the GPU.
        free_bytes: Memory of the GPU that no process uses.
    """

    name: str
    compute_capability: str
    driver: str
    cuda: str
    memory_bytes: int
    free_bytes: int


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def read_gpu(index: int = 0, load: Callable[[str], Any] = ctypes.CDLL) -> Gpu | None:
    """Describe a GPU.

    Args:
        index: Index of the GPU in the driver's order, from 0.
        load: Loads a shared library by its name.

    Returns:
        The GPU; None where there is no driver, or no GPU of that index.
    """
    try:
        library = load("libnvidia-ml.so.1")
    except OSError:
        return None
    if library.nvmlInit_v2():
        return None
    try:
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            return None
        memory, major, minor, cuda = _Memory(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
        library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
        library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda))
        return Gpu(
            name=_text(lambda text, size: library.nvmlDeviceGetName(handle, text, size)),
            compute_capability=f"{major.value}.{minor.value}",
            driver=_text(library.nvmlSystemGetDriverVersion),
            cuda=f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
            memory_bytes=memory.total,
            free_bytes=memory.free,
        )
    finally:
        library.nvmlShutdown()


def cudnn_version(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Version of cuDNN 9, such as `9.19.0`; None where it does not load.

    Args:
        load: Loads a shared library by its name.
    """
    try:
        library = load("libcudnn.so.9")
    except OSError:
        return None
    library.cudnnGetVersion.restype = ctypes.c_size_t
    version = int(library.cudnnGetVersion())
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _text(read: Callable[[Any, int], object]) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    read(buffer, _TEXT_BYTES)
    return buffer.value.decode("utf-8", "replace") or "unknown"
