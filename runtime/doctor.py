"""What this machine has for vocoding: installed packages, and providers that are tried with a small graph."""

from __future__ import annotations

import platform
import re
from typing import get_args

import msgspec
import numpy as np
import soundfile

from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.audio.ffmpeg import aac_problem
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.distribution import own_requirements, own_version, package_version
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.gpu import Gpu, cudnn_version, read_gpu
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.optional import install_command
from voirs_vocoder.runtime.providers import Provider, all_providers
from voirs_vocoder.runtime.providers.tensorrt.flavor import EngineBackend, load_flavor
from voirs_vocoder.runtime.trial_graph import (
    TRIAL_PRECISIONS,
    trial_audio,
    trial_entry,
    trial_graph,
    trial_mel,
)

__all__ = ["BackendCheck", "Diagnosis", "Package", "PrecisionCheck", "ProviderCheck", "diagnose"]


class Package(msgspec.Struct, frozen=True):
    """A dependency of voirs-vocoder.

    Attributes:
        name: Name of the distribution, such as `onnxruntime`.
        extra: Extra of voirs-vocoder that installs the package; None for a package that is always needed.
        version: Installed version; None when the package is not installed.
    """

    name: str
    extra: str | None
    version: str | None


class PrecisionCheck(msgspec.Struct, frozen=True):
    """Whether a provider computes in a precision.

    Attributes:
        precision: The precision, such as `fp16`.
        problem: Why the provider does not compute in it, and the remedy; None when it does.
    """

    precision: Precision
    problem: str | None


class ProviderCheck(msgspec.Struct, frozen=True):
    """Whether a provider works on this machine.

    Attributes:
        name: Name of the provider.
        works: True when the provider computed the trial graph correctly in each of its precisions; for a provider that
            runs engines, True when it found its library and a GPU.
        backend: Library and version, such as `onnxruntime 1.31.1`; None when no library ran.
        problem: Why the provider does not work, and the remedy; None when it works.
        precisions: A check of each precision that the provider computes in; empty for a provider that runs engines, and
            for one that cannot run at all.
    """

    name: str
    works: bool
    backend: str | None
    problem: str | None
    precisions: tuple[PrecisionCheck, ...] = ()


class BackendCheck(msgspec.Struct, frozen=True):
    """Whether a TensorRT library, which builds and runs engines, is installed.

    Attributes:
        name: `tensorrt` or `tensorrt-rtx`.
        version: Installed version; None when the library is not available.
        problem: Why the library is not available, and the remedy; None when it is.
    """

    name: str
    version: str | None
    problem: str | None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` found on this machine.

    Attributes:
        version: Version of voirs-vocoder.
        python: Version of Python.
        system: Operating system, its release, and the architecture.
        processor: Name, threads, INT8 and BF16 instructions of the CPU.
        gpu: The first GPU of the driver; None when there is no driver or no GPU.
        cudnn: Version of cuDNN, such as `9.19.0`; None when it does not load.
        providers: A check of every provider, in the order of the table.
        engine_backends: A check of each of the two TensorRT libraries.
        packages: Every dependency of voirs-vocoder, once per extra that installs it.
        audio_library: Version of libsndfile.
        audio_formats: Names of the audio formats that can be read and written here, such as `FLAC`.
        warnings: Packages that are installed and must not be installed together, with the remedy.
    """

    version: str
    python: str
    system: str
    processor: Processor
    gpu: Gpu | None
    cudnn: str | None
    providers: tuple[ProviderCheck, ...]
    engine_backends: tuple[BackendCheck, ...]
    packages: tuple[Package, ...]
    audio_library: str
    audio_formats: tuple[str, ...]
    warnings: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Examine this machine. It takes some seconds, since libraries are loaded; nothing is changed."""
    packages = _packages()
    # Providers load cuDNN from where it is installed.
    providers = tuple(_checked(provider) for provider in all_providers())
    return Diagnosis(
        version=own_version(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=read_processor(),
        gpu=read_gpu(),
        cudnn=cudnn_version(),
        providers=providers,
        engine_backends=tuple(_engine_backend(name) for name in get_args(EngineBackend)),
        packages=packages,
        audio_library=soundfile.__libsndfile_version__,
        audio_formats=_audio_formats(),
        warnings=_warnings(packages),
    )


def _packages() -> tuple[Package, ...]:
    """The dependencies of voirs-vocoder, each once per extra."""
    found = []
    for requirement in own_requirements():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        found.append(Package(name, extra[1] if extra else None, package_version(name)))
    return tuple(found)


def _warnings(packages: tuple[Package, ...]) -> tuple[str, ...]:
    versions = {package.name: package.version for package in packages}
    if versions.get("onnxruntime") and versions.get("onnxruntime-gpu"):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; uninstall both, "
            f"then {install_command('cpu')}, or with [gpu]",
        )
    return ()


def _checked(provider: Provider) -> ProviderCheck:
    """Run the trial graphs, by the same code that vocodes; of a provider of engines, look for library and GPU only."""
    problem = provider.problem()
    if problem is not None or provider.open_graph is None:
        backend = provider.backend() if provider.open_graph is None else None
        return ProviderCheck(provider.name, problem is None, backend, problem)
    precisions = tuple(
        PrecisionCheck(precision, _precision_problem(provider, precision))
        for precision in TRIAL_PRECISIONS
        if (provider.int8_target is not None if precision == "int8" else provider.computes(precision, None))
    )
    problems = [f"{check.precision}: {check.problem}" for check in precisions if check.problem is not None]
    return ProviderCheck(
        provider.name, not problems, provider.backend(), "; ".join(problems) or None, precisions
    )


def _precision_problem(provider: Provider, precision: Precision) -> str | None:
    assert provider.open_graph is not None  # noqa: S101 - the caller made sure
    entry = trial_entry(precision, provider.int8_target if precision == "int8" else None)
    try:
        session = provider.open_graph(trial_graph(precision), entry, SessionConfig(threads=1))
        try:
            audio = session.run({"mel": trial_mel()})["audio"]
        finally:
            session.close()
    except ProviderError as error:
        return str(error).removeprefix(f"provider {provider.name!r} does not load the trial graph: ")
    right = np.array_equal(audio, trial_audio())
    return None if right else "computes a convolution wrongly; reinstall its library and driver"


def _engine_backend(name: EngineBackend) -> BackendCheck:
    try:
        return BackendCheck(name, load_flavor(name).version, None)
    except ProviderError as error:
        return BackendCheck(name, None, str(error))


def _audio_formats() -> tuple[str, ...]:
    formats = soundfile.available_formats()
    found = [name for name in ("WAV", "FLAC", "MP3") if name in formats]
    ogg = soundfile.available_subtypes("OGG") if "OGG" in formats else {}
    found += [f"OGG {name.title()}" for name in ("VORBIS", "OPUS") if name in ogg]
    return (*found, *(["AAC"] if aac_problem() is None else []))
