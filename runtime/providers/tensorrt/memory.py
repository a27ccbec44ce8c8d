"""Device memory, copies and streams through cuda-python, every return code checked; nothing else imports cuda."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional

__all__ = ["Cuda", "HeldArrays", "load_cuda"]

_NO_GPU = "use provider cpu, or a machine with an NVIDIA GPU and its driver"


class Cuda:
    """One GPU, through CUDA's runtime API. Addresses and stream handles are plain integers."""

    def __init__(self, bindings: Any, device: int) -> None:
        """Find the GPU; nothing is allocated.

        Args:
            bindings: The module `cuda.bindings.runtime`, or an object with the same functions.
            device: Index of the GPU, from 0.

        Raises:
            ProviderError: There is no driver, no GPU, or no GPU of that index.
        """
        self._api = bindings
        status, count = bindings.cudaGetDeviceCount()
        if status != bindings.cudaError_t.cudaSuccess or count == 0:
            raise ProviderError(f"no NVIDIA GPU can be used here ({self._reason(status, count)}); {_NO_GPU}")
        if device >= count:
            raise ProviderError(f"there is no GPU {device}: this machine has {count}, counted from 0")
        self.device = device

    def activate(self) -> None:
        """Make this GPU the one of the calling thread; CUDA selects a GPU per thread."""
        self._check(self._api.cudaSetDevice(self.device), "cudaSetDevice")

    def compute_capability(self) -> int:
        """Compute capability without its dot, such as 86 for 8.6."""
        attributes = self._api.cudaDeviceAttr
        major, minor = (
            self._check(self._api.cudaDeviceGetAttribute(attribute, self.device), "cudaDeviceGetAttribute")
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        )
        return int(major) * 10 + int(minor)

    def gpu_name(self) -> str:
        """Name of the GPU, such as `NVIDIA L4`."""
        properties = self._check(self._api.cudaGetDeviceProperties(self.device), "cudaGetDeviceProperties")
        name: bytes = properties.name
        return name.split(b"\0")[0].decode()

    def driver_version(self) -> str:
        """The latest CUDA version that the driver supports, such as `CUDA 13.0`."""
        version = int(self._check(self._api.cudaDriverGetVersion(), "cudaDriverGetVersion"))
        return f"CUDA {version // 1000}.{version % 1000 // 10}"

    def create_stream(self) -> int:
        """Create a stream that does not wait for the default stream, and return its handle."""
        return int(
            self._check(
                self._api.cudaStreamCreateWithFlags(self._api.cudaStreamNonBlocking),
                "cudaStreamCreateWithFlags",
            )
        )

    def synchronize(self, stream: int) -> None:
        """Wait until everything on a stream is done; a failure on the stream raises ProviderError here."""
        self._check(self._api.cudaStreamSynchronize(stream), "cudaStreamSynchronize")

    def destroy_stream(self, stream: int) -> None:
        """Free a stream."""
        self._check(self._api.cudaStreamDestroy(stream), "cudaStreamDestroy")

    def allocate(self, size_bytes: int) -> int:
        """Allocate device memory, and return its address."""
        return int(self._check(self._api.cudaMalloc(size_bytes), f"cudaMalloc of {size_bytes} bytes"))

    def free(self, address: int) -> None:
        """Free device memory."""
        self._check(self._api.cudaFree(address), "cudaFree")

    def copy_to_device(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """Enqueue a copy to the GPU; the array must be contiguous and live until the stream has been synchronized."""
        self._copy(address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice", stream)

    def copy_to_host(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """Enqueue a copy from the GPU; the array must be contiguous and live until the stream has been synchronized."""
        self._copy(array.ctypes.data, address, array.nbytes, "cudaMemcpyDeviceToHost", stream)

    def copy_within(self, target: int, source: int, size_bytes: int, stream: int) -> None:
        """Enqueue a copy from one address of the GPU to another."""
        self._copy(target, source, size_bytes, "cudaMemcpyDeviceToDevice", stream)

    def _copy(self, target: int, source: int, size_bytes: int, kind: str, stream: int) -> None:
        kind_value = getattr(self._api.cudaMemcpyKind, kind)
        self._check(self._api.cudaMemcpyAsync(target, source, size_bytes, kind_value, stream), kind)

    def _check(self, result: tuple[Any, ...], what: str) -> Any:
        """Unpack what a binding returned: a status, then at most one value.

        Raises:
            ProviderError: The status is not success.
        """
        status, *values = result
        if status != self._api.cudaError_t.cudaSuccess:
            raise ProviderError(f"CUDA failed in {what}: {self._text(status)}")
        return values[0] if values else None

    def _reason(self, status: Any, count: int | None) -> str:
        return (
            f"CUDA counts {count} devices"
            if status == self._api.cudaError_t.cudaSuccess
            else self._text(status)
        )

    def _text(self, status: Any) -> str:
        name, text = self._api.cudaGetErrorName(status)[1], self._api.cudaGetErrorString(status)[1]
        return f"{name.decode()}, {text.decode()}"


class HeldArrays:
    """Device memory that stands for arrays of callers, as long as the arrays live."""

    def __init__(self, cuda: Cuda) -> None:
        """Allocate nothing yet.

        Args:
            cuda: The GPU.
        """
        self._cuda = cuda
        self._addresses: dict[int, int] = {}
        self._released: list[int] = []

    def address(self, array: NDArray[np.generic], stream: int) -> int:
        """Address of the device memory of an array, which the first call allocates and fills with the array's values.

        Args:
            array: A contiguous array.
            stream: The stream that copies the values; it is waited for.

        Raises:
            ProviderError: CUDA failed.
        """
        key = id(array)
        if key not in self._addresses:
            address = self._cuda.allocate(array.nbytes)
            try:
                self._cuda.copy_to_device(address, array, stream)
                self._cuda.synchronize(stream)
            except ProviderError:
                self._released.append(address)
                raise
            self._addresses[key] = address
            weakref.finalize(array, self._release, key)
        return self._addresses[key]

    def free_released(self) -> None:
        """Free the memory of the arrays that are gone; the GPU must be that of the calling thread."""
        while self._released:
            self._cuda.free(self._released.pop())

    def free(self) -> None:
        """Free all memory; the GPU must be that of the calling thread."""
        while self._addresses:
            self._released.append(self._addresses.popitem()[1])
        self.free_released()

    def _release(self, key: int) -> None:
        # The thread that drops an array may be one in which no CUDA call is allowed at the moment.
        address = self._addresses.pop(key, None)
        if address is not None:
            self._released.append(address)


def load_cuda(device: int = 0) -> Cuda:
    """Find a GPU; nothing is allocated.

    Args:
        device: Index of the GPU, from 0.

    Raises:
        ProviderError: cuda-python is not installed, or there is no GPU of that index.
    """
    bindings = import_optional(
        "cuda.bindings.runtime", purpose="running engines", package="cuda-python", extra="tensorrt-rtx"
    )
    return Cuda(bindings, device)
