"""What ONNX Runtime's errors ask of a user, in front of their own words."""

from __future__ import annotations

__all__ = ["explained", "is_out_of_memory"]

_OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "status_alloc_failed")

# Each remedy with the texts, in lower case, that call for it; the first that matches counts.
_REMEDIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "the GPU has too little free memory; use shorter buckets (SessionConfig.buckets), a smaller "
        "activation_budget_bytes, or end other processes on the GPU",
        _OUT_OF_MEMORY,
    ),
    (
        "cuDNN has no kernel for a convolution of this graph in this precision; export the artifact again, which "
        "writes convolutions in a form that has one, or use precision fp32",
        ("no execution plans support the graph", "failed to initialize cudnn frontend"),
    ),
    (
        "the provider would leave a part of the graph to the CPU; export the artifact again",
        ("fallback to cpu ep has been explicitly disabled", "explicitly assigned to the default cpu ep"),
    ),
    (
        "the GPU or its driver failed, and this process cannot use it any more; start a new process, and look at the "
        "output of nvidia-smi and dmesg",
        (
            "illegal memory access",
            "cuda failure 700",
            "cuda failure 719",
            "cuda failure 999",
            "unspecified launch failure",
            "device is lost",
            "gpu has fallen off the bus",
        ),
    ),
    (
        "the driver is older than the CUDA libraries; update the NVIDIA driver, or install onnxruntime-gpu for its "
        "CUDA version",
        ("driver version is insufficient", "cuda failure 35", "cuda failure 803"),
    ),
    (
        "there is no such GPU; choose another device",
        ("invalid device ordinal", "cuda failure 101", "no cuda-capable device"),
    ),
    (
        "a CUDA, cuDNN or TensorRT library is missing or of another version; install those that the text names",
        ("cannot open shared object file", "undefined symbol", "libcudnn", "libcublas"),
    ),
)


def explained(error: BaseException) -> str:
    """An error of ONNX Runtime as one line: what the user can do, as far as it is known, then its own text, whole.

    Args:
        error: The error.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    low = text.lower()
    for remedy, signs in _REMEDIES:
        if any(sign in low for sign in signs):
            return f"{remedy} ({text})"
    return text


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the cause of an error is that a device has too little memory.

    Args:
        error: The error.
    """
    low = str(error).lower()
    return any(sign in low for sign in _OUT_OF_MEMORY)
