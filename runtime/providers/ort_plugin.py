"""Execution providers that are plugins of ONNX Runtime: a package brings the library; a process registers it once."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.optional import import_optional
from voirs_vocoder.runtime.providers.ort_errors import explained
from voirs_vocoder.runtime.providers.ort_library import Execution, driver_problem, import_onnxruntime

__all__ = ["Plugin", "plugin_backend", "plugin_devices", "plugin_problem"]

_CUDA_RUNTIME = "libcudart.so.13"
_registering = threading.Lock()
_libraries: set[str] = set()


@dataclass(frozen=True)
class Plugin:
    """A package with the library of an execution provider.

    Attributes:
        module: Name of its module, which has the functions `get_ep_name` and `get_library_path`.
        package: Name of the package.
        extra: Extra of voirs-vocoder that installs the package.
        least_onnxruntime: Oldest release of ONNX Runtime that loads the library, as (major, minor).
        gpus: The GPUs that the library runs on, in words.
    """

    module: str
    package: str
    extra: str
    least_onnxruntime: tuple[int, int]
    gpus: str


def plugin_problem(execution: Execution, plugin: Plugin) -> str | None:
    """Find out why the execution provider of a plugin cannot run on this machine.

    Args:
        execution: The execution provider.
        plugin: The package that brings it.

    Returns:
        The reason with the remedy; None when nothing is known against it.
    """
    try:
        _registered(execution, plugin)
    except ProviderError as error:
        return str(error)
    return None


def plugin_devices(execution: Execution, plugin: Plugin, index: int) -> tuple[Any, list[Any]]:
    """Find the GPU that a plugin runs on, and register its library if this process has not done so.

    A library is registered once per process and stays so: all sessions share it, and where the process registered it by
    itself, that registration is used.

    Args:
        execution: The execution provider.
        plugin: The package that brings it.
        index: Index of the GPU, as CUDA counts them from 0.

    Returns:
        The module `onnxruntime`, and the GPU as a list of one `onnxruntime.OrtEpDevice`.

    Raises:
        ProviderError: The execution provider cannot run on this machine, or it knows no GPU of this index.
    """
    try:
        ort, devices = _registered(execution, plugin)
    except ProviderError as error:
        raise ProviderError(f"provider {execution.provider!r} cannot run: {error}") from error
    kind = ort.OrtDeviceMemoryType.DEFAULT
    by_index = {device.memory_info(kind).device_id: device for device in devices}
    if index not in by_index:
        raise ProviderError(
            f"provider {execution.provider!r} runs on the GPUs {', '.join(map(str, sorted(by_index)))} of this "
            f"machine, got device {index}; choose another device"
        )
    return ort, [by_index[index]]


def plugin_backend(plugin: Plugin) -> str | None:
    """Names and versions of ONNX Runtime and a plugin.

    Args:
        plugin: The package.

    Returns:
        Text such as `onnxruntime 1.31.1 with onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0`; None where either is not
        installed.
    """
    try:
        ort = import_onnxruntime()
        module = _module(plugin)
    except ProviderError:
        return None
    return f"onnxruntime {ort.__version__} with {plugin.package} {module.__version__}"


def _registered(execution: Execution, plugin: Plugin) -> tuple[Any, list[Any]]:
    """The module `onnxruntime` and the GPUs of the plugin, at least one."""
    ort = import_onnxruntime()
    release = tuple(int(part) for part in ort.__version__.split(".")[:2] if part.isdecimal())
    if release < plugin.least_onnxruntime or not hasattr(ort, "register_execution_provider_library"):
        least = ".".join(map(str, plugin.least_onnxruntime))
        raise ProviderError(
            f"it needs onnxruntime {least} or newer, got {ort.__version__}; pip install -U 'onnxruntime>={least}'"
        )
    module = _module(plugin)
    problem = driver_problem()
    if problem is not None:
        raise ProviderError(problem)
    with _registering:
        devices = _devices(ort, execution)
        # A second registration is refused, also after one that found no GPU.
        if not devices and module.get_library_path() not in _libraries:
            _load_cuda_runtime(module)
            try:
                ort.register_execution_provider_library(module.get_ep_name(), module.get_library_path())
            except Exception as error:  # pybind11 raises classes of its own below Exception
                raise ProviderError(
                    f"{explained(error)}: the library of {plugin.package} does not load"
                ) from error
            _libraries.add(module.get_library_path())
            devices = _devices(ort, execution)
    if not devices:
        raise ProviderError(
            f"{plugin.package} knows no GPU of this machine; it runs on {plugin.gpus}; use provider cuda or cpu"
        )
    return ort, devices


def _module(plugin: Plugin) -> Any:
    return import_optional(
        plugin.module, purpose="the execution provider", extra=plugin.extra, package=plugin.package
    )


def _load_cuda_runtime(module: Any) -> None:
    """Load the CUDA runtime of the package where the system has none; the package itself does not."""
    try:
        ctypes.CDLL(_CUDA_RUNTIME)
    except OSError:
        for path in sorted(Path(module.__file__).parent.glob(f"{_CUDA_RUNTIME}*")):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            return


def _devices(ort: Any, execution: Execution) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == execution.ort_name]
