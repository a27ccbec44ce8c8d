"""Tensors of ONNX Runtime on a device, and the arrays in host memory that they are copied from and to."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.gpu_thread import gpu_thread

__all__ = [
    "CPU_DEVICE",
    "CudaError",
    "Device",
    "DeviceTensor",
    "TensorRow",
    "copy_between",
    "device_name",
    "free_bytes",
    "free_bytes_of_gpu",
    "is_working",
    "to_device",
    "to_host",
]

_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")
# Smaller arrays share their pages with others, and are copied as fast without.
_LEAST_LOCKED_BYTES = 1 << 16
_NAME_BYTES = 96
_ANY_DIRECTION = 4  # cudaMemcpyDefault: the CUDA runtime finds host and device by the addresses


class CudaError(RuntimeError):
    """A function of the CUDA runtime failed; who calls it names the provider and the remedy."""


@dataclass(frozen=True)
class Device:
    """A device that ONNX Runtime keeps values on.

    Attributes:
        kind: `cuda`, or `cpu` for host memory.
        index: Index of the GPU; 0 for host memory.
        has_own_thread: Whether one thread of the process uses the device for all others; see `gpu_thread`.
    """

    kind: str
    index: int = 0
    has_own_thread: bool = False

    def call(self, work: Callable[[], None]) -> None:
        """Call a function that uses the device, on the thread that may use it, and wait for it.

        Args:
            work: The function; what it raises is raised here.
        """
        if self.has_own_thread:
            gpu_thread().call(lambda: self._call_here(work))
        else:
            work()

    def _call_here(self, work: Callable[[], None]) -> None:
        if self.kind != "cpu":
            # CUDA selects a GPU per thread; another one would be set up, and take memory, when it is first used.
            _require(_cuda_runtime().cudaSetDevice(self.index), f"use GPU {self.index}")
        work()


CPU_DEVICE = Device("cpu")
"""Host memory."""


@dataclass(frozen=True, eq=False)
class TensorRow:
    """One row of a tensor on a device.

    Attributes:
        host: The row of the array in host memory.
        address: Address of the row on the device.
        size_bytes: Size of the row.
        on_host: Whether the device is the host.
    """

    host: NDArray[Any]
    address: int
    size_bytes: int
    on_host: bool


class DeviceTensor:
    """A tensor at a fixed address on a device, and an array of page-locked host memory to copy it from and to.

    On the CPU both are the same memory.

    Attributes:
        host: The array in host memory; of no values where there is none.
        value: The tensor on the device, an `onnxruntime.OrtValue`.
        address: Address of the tensor on the device.
        size_bytes: Size of the tensor.
        on_host: Whether the device is the host, so that nothing need be copied.
    """

    def __init__(
        self,
        ort: Any,
        device: Device,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        *,
        stays_on_device: bool = False,
    ) -> None:
        """Allocate both, filled with zeros.

        Args:
            ort: The module `onnxruntime`.
            device: Device that holds the tensor.
            shape: Shape of the tensor.
            dtype: Element type of the tensor.
            stays_on_device: True for a tensor that is never copied to the host, which needs no array there.

        Raises:
            ProviderError: The CUDA runtime cannot be loaded.
        """
        zeros: NDArray[Any] = np.zeros(shape, dtype)
        self.host = zeros
        self.on_host = device.kind == "cpu"
        self._unlock: Callable[[], object] | None = None
        if self.on_host:
            self.value = ort.OrtValue.ortvalue_from_numpy(self.host)
        else:
            self.value = ort.OrtValue.ortvalue_from_numpy(self.host, device.kind, device.index)
            if stays_on_device:
                self.host = np.empty(0, dtype)
            else:
                self._unlock = _page_lock(self.host)
        self.address: int = self.value.data_ptr()
        self.size_bytes = zeros.nbytes

    def rows(self) -> list[TensorRow]:
        """The rows of the tensor, by its first axis; what changes in them changes in the tensor."""
        count = self.host.shape[0]
        size_bytes = self.size_bytes // max(count, 1)
        return [
            TensorRow(self.host[row], self.address + row * size_bytes, size_bytes, self.on_host)
            for row in range(count)
        ]

    def free(self) -> None:
        """Free the tensor, and unlock the host memory; neither may be used afterwards."""
        self.value = None
        if self._unlock is not None:
            self._unlock()


def to_device(tensors: Iterable[DeviceTensor]) -> None:
    """Copy arrays in host memory to their device.

    Args:
        tensors: The tensors to copy.

    Raises:
        CudaError: The CUDA runtime failed.
    """
    for tensor in tensors:
        if not tensor.on_host:
            _copy(tensor.address, tensor.host.ctypes.data, tensor.size_bytes)


def to_host(tensors: Iterable[DeviceTensor]) -> None:
    """Copy tensors on a device to their arrays in host memory.

    Args:
        tensors: The tensors to copy.

    Raises:
        CudaError: The CUDA runtime failed.
    """
    for tensor in tensors:
        if not tensor.on_host:
            _copy(tensor.host.ctypes.data, tensor.address, tensor.size_bytes)


def copy_between(pairs: Iterable[tuple[DeviceTensor | TensorRow, DeviceTensor | TensorRow]]) -> None:
    """Copy tensors to others on the same device; the copies are complete when this returns.

    Args:
        pairs: Source and target of each copy, of the same shape and type.

    Raises:
        CudaError: The CUDA runtime failed.
    """
    pending = False
    for source, target in pairs:
        if source.on_host:
            np.copyto(target.host, source.host)
        else:
            _copy(target.address, source.address, source.size_bytes)
            pending = True
    if pending:
        # Unlike the others, a copy within a device may be under way when the call returns.
        _require(_cuda_runtime().cudaStreamSynchronize(None), "wait for a copy")


def device_name(device: Device) -> str:
    """Name of a GPU, such as `NVIDIA L4`; `cpu` for host memory.

    Args:
        device: The device.

    Raises:
        ProviderError: The driver does not load, or knows no such GPU.
    """
    if device.kind == "cpu":
        return device.kind
    text, handle = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ProviderError(
            f"the NVIDIA driver must load, got {error}; install the driver, or use provider cpu"
        ) from error
    if (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(handle), device.index)
        or driver.cuDeviceGetName(text, _NAME_BYTES, handle)
    ):
        raise ProviderError(
            f"device must be a GPU that the driver knows, got {device.index}; choose another one"
        )
    return text.value.decode("utf-8", "replace")


def free_bytes(device: Device) -> int | None:
    """Free memory of a GPU in bytes; None for host memory.

    Args:
        device: The device.

    Raises:
        CudaError: The CUDA runtime failed.
    """
    if device.kind == "cpu":
        return None
    runtime = _cuda_runtime()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _require(runtime.cudaSetDevice(device.index), f"use GPU {device.index}")
    _require(runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)), "read its free memory")
    return free.value


def free_bytes_of_gpu(index: int) -> int | None:
    """Free memory of a GPU in bytes; None where it cannot be found out.

    Args:
        index: Index of the GPU.
    """
    device = Device("cuda", index, has_own_thread=True)
    found: list[int | None] = []
    try:
        device.call(lambda: found.append(free_bytes(device)))
    except (CudaError, ProviderError):  # ProviderError: the CUDA runtime is not installed
        return None
    return found[0]


def is_working(device: Device) -> bool:
    """Whether a device still answers; a GPU does not after some errors.

    Args:
        device: The device.
    """
    try:
        free_bytes(device)
    except CudaError:
        return False
    return True


def _copy(target: int, source: int, size_bytes: int) -> None:
    status = _cuda_runtime().cudaMemcpy(
        ctypes.c_void_p(target), ctypes.c_void_p(source), ctypes.c_size_t(size_bytes), _ANY_DIRECTION
    )
    _require(status, f"copy {size_bytes} bytes")


def _page_lock(array: NDArray[Any]) -> Callable[[], object] | None:
    """Let the device copy from and to an array directly; where the system refuses, copies take a detour.

    Returns:
        What ends it, which the end of the array does too; None where nothing was done.
    """
    if array.nbytes < _LEAST_LOCKED_BYTES:
        return None
    runtime = _cuda_runtime()
    address = ctypes.c_void_p(array.ctypes.data)
    if runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), 0) == 0:
        return weakref.finalize(array, runtime.cudaHostUnregister, address)
    # Or the next kernel that this thread starts would be blamed for it.
    runtime.cudaGetLastError()
    return None


def _require(status: int, what: str) -> None:
    if status:
        runtime = _cuda_runtime()
        runtime.cudaGetErrorString.restype = ctypes.c_char_p
        text = runtime.cudaGetErrorString(status).decode("utf-8", "replace")
        raise CudaError(f"the CUDA runtime failed to {what}: CUDA failure {status}: {text}")


@functools.cache
def _cuda_runtime() -> Any:
    for name in _RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ProviderError(
        f"the CUDA runtime must be installed, found none of {', '.join(_RUNTIMES)}; pip install nvidia-cuda-runtime"
    )
