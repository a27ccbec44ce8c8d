"""What this machine has for vocoding: installed packages, and providers that are tried with a small graph."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
from importlib import metadata
from typing import get_args

import msgspec
import numpy as np
import soundfile

from voirs_vocoder.runtime.artifact.manifest import FileEntry, GraphEntry, GraphFacts, TensorInfo
from voirs_vocoder.runtime.audio.ffmpeg import aac_problem
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.optional import install_command
from voirs_vocoder.runtime.providers import Provider, all_providers
from voirs_vocoder.runtime.providers.tensorrt.flavor import EngineBackend, load_flavor
from voirs_vocoder.runtime.providers.tensorrt.memory import load_cuda

__all__ = ["TRIAL_GRAPH", "BackendCheck", "Diagnosis", "Package", "ProviderCheck", "diagnose"]

_DISTRIBUTION = "voirs-vocoder"

# The graph `audio = Conv(mel, weight)`, mel and audio [batch, 1, frames], weight [1, 1, 1] of 2.0, opset 17.
TRIAL_GRAPH = base64.b64decode(
    "CAgSADqFAQoaCgNtZWwKBndlaWdodBIFYXVkaW8iBENvbnYSAWcqFggBCAEIARABIgQAAABAQgZ3ZWlnaHRaJAoDbWVsEh0KGwgBEhcKBxIF"
    "YmF0Y2gKAggBCggSBmZyYW1lc2ImCgVhdWRpbxIdChsIARIXCgcSBWJhdGNoCgIIAQoIEgZmcmFtZXNCBAoAEBE="
)
_TRIAL_WEIGHT = 2.0


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


class ProviderCheck(msgspec.Struct, frozen=True):
    """Whether a provider works on this machine.

    Attributes:
        name: Name of the provider.
        works: True when the provider computed the trial graph correctly; for a provider that runs engines, True when
            it found its library and a GPU.
        backend: Library and version, such as `onnxruntime 1.31.1`; None when no library ran.
        problem: Why the provider does not work, and the remedy; None when it works.
    """

    name: str
    works: bool
    backend: str | None
    problem: str | None


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
        processor: Name, threads and INT8 instructions of the CPU.
        gpu: Name, compute capability and driver of the first GPU; None when CUDA finds no GPU.
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
    gpu: str | None
    providers: tuple[ProviderCheck, ...]
    engine_backends: tuple[BackendCheck, ...]
    packages: tuple[Package, ...]
    audio_library: str
    audio_formats: tuple[str, ...]
    warnings: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Examine this machine. It takes some seconds, since libraries are loaded; nothing is changed."""
    packages = _packages()
    return Diagnosis(
        version=metadata.version(_DISTRIBUTION),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=read_processor(),
        gpu=_gpu(),
        providers=tuple(_checked(provider) for provider in all_providers()),
        engine_backends=tuple(_engine_backend(name) for name in get_args(EngineBackend)),
        packages=packages,
        audio_library=soundfile.__libsndfile_version__,
        audio_formats=_audio_formats(),
        warnings=_warnings(packages),
    )


def _packages() -> tuple[Package, ...]:
    """The dependencies in the metadata of voirs-vocoder, each once per extra."""
    found = []
    for requirement in metadata.requires(_DISTRIBUTION) or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        found.append(Package(name, extra[1] if extra else None, _version(name)))
    return tuple(found)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _warnings(packages: tuple[Package, ...]) -> tuple[str, ...]:
    versions = {package.name: package.version for package in packages}
    if versions.get("onnxruntime") and versions.get("onnxruntime-gpu"):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; uninstall both, "
            f"then {install_command('cpu')}, or with [gpu]",
        )
    return ()


def _checked(provider: Provider) -> ProviderCheck:
    """Run the trial graph, by the same code that vocodes; of a provider of engines, look for library and GPU only."""
    if provider.open_graph is None:
        problem = provider.problem()
        return ProviderCheck(provider.name, problem is None, provider.backend(), problem)
    mel = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 1, 8)
    try:
        session = provider.open_graph(TRIAL_GRAPH, _trial_entry(), SessionConfig(threads=1))
        try:
            audio = session.run({"mel": mel})["audio"]
            right = np.array_equal(audio, _TRIAL_WEIGHT * mel)
        finally:
            session.close()
    except ProviderError as error:
        reason = str(error).removeprefix(f"provider {provider.name!r} cannot run: ")
        return ProviderCheck(provider.name, works=False, backend=None, problem=reason)
    problem = None if right else "computes a convolution wrongly; reinstall its library and driver"
    return ProviderCheck(provider.name, works=right, backend=session.backend, problem=problem)


def _trial_entry() -> GraphEntry:
    shape = ("batch", 1, "frames")
    return GraphEntry(
        role="offline",
        precision="fp32",
        target=None,
        file=FileEntry(
            path="the trial graph",
            sha256=hashlib.sha256(TRIAL_GRAPH).hexdigest(),
            size_bytes=len(TRIAL_GRAPH),
        ),
        opset=17,
        inputs=(TensorInfo(name="mel", dtype="float32", shape=shape),),
        outputs=(TensorInfo(name="audio", dtype="float32", shape=shape),),
        facts=GraphFacts(),
        details={},
    )


def _engine_backend(name: EngineBackend) -> BackendCheck:
    try:
        return BackendCheck(name, load_flavor(name).version, None)
    except ProviderError as error:
        return BackendCheck(name, None, str(error))


def _gpu() -> str | None:
    """Name, compute capability and driver of the first GPU; None where CUDA finds none."""
    try:
        cuda = load_cuda()
        return f"{cuda.gpu_name()}, compute capability {cuda.compute_capability()}, {cuda.driver_version()}"
    except ProviderError:
        return None


def _audio_formats() -> tuple[str, ...]:
    formats = soundfile.available_formats()
    found = [name for name in ("WAV", "FLAC", "MP3") if name in formats]
    ogg = soundfile.available_subtypes("OGG") if "OGG" in formats else {}
    found += [f"OGG {name.title()}" for name in ("VORBIS", "OPUS") if name in ogg]
    return (*found, *(["AAC"] if aac_problem() is None else []))
