"""What errors of ONNX Runtime, CUDA and cuDNN ask of a user, in front of their own words."""

from __future__ import annotations

import re

from voirs_vocoder.runtime.errors import DeviceMemoryError, ProviderError
from voirs_vocoder.runtime.scarcity import scarce_resource
from voirs_vocoder.runtime.text import printable

__all__ = [
    "explained",
    "is_device_lost",
    "is_kernel_missing",
    "is_out_of_memory",
    "leaves_nodes_to_cpu",
    "provider_error",
]

_OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "status_alloc_failed")
_DEVICE_LOST = (
    "illegal memory access",
    "cuda failure 700",
    "cuda failure 719",
    "cuda failure 999",
    "unspecified launch failure",
    "uncorrectable ecc error",
    "device is lost",
    "gpu has fallen off the bus",
)

_KERNEL_MISSING = (
    "no execution plans support the graph",
    "heuristic_query_failed",
    "failed to initialize cudnn frontend",
)
_LEFT_TO_CPU = (
    "fallback to cpu ep has been explicitly disabled",
    "explicitly assigned to the default cpu ep",
    "all compute graph nodes have not been partitioned to the",
)

# Each remedy with the texts, in lower case, that call for it; the first that matches counts.
_REMEDIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "the device has too little free memory; use shorter buckets (SessionConfig.buckets), a smaller "
        "activation_budget_bytes, or end other processes that use it",
        _OUT_OF_MEMORY,
    ),
    (
        "cuDNN has no kernel for a convolution of this graph in this precision; export the artifact again, which "
        "writes convolutions in a form that has one, or use precision fp32",
        _KERNEL_MISSING,
    ),
    (
        "the provider would leave a part of the graph to the CPU; export the artifact again",
        _LEFT_TO_CPU,
    ),
    (
        "the GPU or its driver failed, and what was prepared on it is lost; run again, begin streams again, and where "
        "this error stays, start a new process and look at the output of nvidia-smi and dmesg",
        _DEVICE_LOST,
    ),
    (
        "another thread of this process used CUDA while a CUDA graph was recorded; run again, or turn "
        "SessionConfig.cuda_graphs off",
        ("when stream is capturing", "cuda failure 900", "cuda failure 901", "cuda failure 906"),
    ),
    (
        "the driver is older than the CUDA libraries; update the NVIDIA driver, or install onnxruntime-gpu for its "
        "CUDA version",
        ("driver version is insufficient", "cuda failure 35", "cuda failure 803"),
    ),
    (
        "this onnxruntime-gpu has no kernels for this GPU; install one that was built for its compute capability",
        ("no kernel image is available", "cuda failure 209"),
    ),
    (
        "there is no such GPU; choose another device",
        ("invalid device ordinal", "cuda failure 101", "no cuda-capable device"),
    ),
    (
        "cuDNN is of another version than onnxruntime-gpu was built for; "
        "pip install -U 'onnxruntime-gpu[cuda,cudnn]'",
        ("cudnn_status_version_mismatch", "cudnn_status_sublibrary_version_mismatch"),
    ),
)
_MISSING_LIBRARY = re.compile(
    r"\blib([a-z]+)\w*\.so(?:\.(\d+))?[\d.]*:? cannot open shared object file", re.I
)
_LIBRARIES = {"cudnn": "cuDNN", "nvinfer": "TensorRT", "nvonnxparser": "TensorRT"}


def explained(error: BaseException) -> str:
    """An error of a library as one line: what the user can do, as far as it is known, then its own text, whole.

    Args:
        error: The error.
    """
    text = printable(" ".join(str(error).split())) or type(error).__name__
    low = text.lower()
    for remedy, signs in _REMEDIES:
        if any(sign in low for sign in signs):
            return f"{remedy} ({text})"
    scarce = scarce_resource(error)
    if scarce is not None:
        return f"{scarce} ({text})"
    missing = _MISSING_LIBRARY.search(text)
    if missing is not None:
        return f"{_missing(missing[1].lower(), missing[2])} ({text})"
    if "undefined symbol" in low:
        return (
            "a CUDA, cuDNN or TensorRT library is of another version; install the one that onnxruntime-gpu was built "
            f"for ({text})"
        )
    return text


def provider_error(error: BaseException, rule: str) -> ProviderError:
    """The error of ours for an error of a library.

    Args:
        error: The error of the library.
        rule: What failed, such as `provider 'cuda' failed`; the message begins with it.

    Returns:
        A `DeviceMemoryError` where the device has too little memory, else a `ProviderError`.
    """
    kind = DeviceMemoryError if is_out_of_memory(error) else ProviderError
    return kind(f"{rule}: {explained(error)}")


def is_kernel_missing(error: BaseException) -> bool:
    """Whether cuDNN has no kernel for a convolution in the memory layout that was chosen.

    Args:
        error: The error.
    """
    low = str(error).lower()
    return any(sign in low for sign in _KERNEL_MISSING)


def leaves_nodes_to_cpu(error: BaseException) -> bool:
    """Whether a graph does not load since its provider does not take every node.

    Args:
        error: The error.
    """
    low = str(error).lower()
    return any(sign in low for sign in _LEFT_TO_CPU)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the cause of an error is that a device has too little memory.

    Args:
        error: The error.
    """
    return _has_any(error, _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether an error ends everything that was prepared on a device.

    Args:
        error: The error.
    """
    return _has_any(error, _DEVICE_LOST)


def _has_any(error: BaseException, signs: tuple[str, ...]) -> bool:
    low = str(error).lower()
    return any(sign in low for sign in signs)


def _missing(library: str, version: str | None) -> str:
    """What to install for a shared library, such as `cudnn` of version 9."""
    name = next((title for part, title in _LIBRARIES.items() if library.startswith(part)), "CUDA")
    wanted = f"{name} {version}" if version else name
    if name == "TensorRT":
        return f"{wanted} is not installed; install the TensorRT {version or ''} libraries of NVIDIA".replace(
            "  ", " "
        )
    return (
        f"{wanted} is not installed, which this onnxruntime-gpu was built for; install the package with "
        "pip install 'onnxruntime-gpu[cuda,cudnn]', or put the libraries' folder on LD_LIBRARY_PATH"
    )
