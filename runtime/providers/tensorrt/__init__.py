"""TensorRT engines: built for a GPU beforehand, executed here.

This file holds the provider; what executes engines is imported when one is opened.
"""

from __future__ import annotations

from voirs_vocoder.runtime.artifact.manifest import GraphEntry
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.provider import Provider
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["TENSORRT_ENGINE"]


def _open_artifact(artifact: Artifact, entry: GraphEntry, config: SessionConfig) -> Session:
    from voirs_vocoder.runtime.providers.tensorrt.engine import open_engine_session

    return open_engine_session(artifact, entry.role, entry.precision, config)


def _problem() -> str | None:
    """Engines are built for one GPU and one library, so both are looked for and no engine is run."""
    from voirs_vocoder.runtime.providers.tensorrt.flavor import available_flavors
    from voirs_vocoder.runtime.providers.tensorrt.memory import load_cuda

    problems = []
    try:
        load_cuda()
    except ProviderError as error:
        problems.append(str(error))
    found, reasons = available_flavors()
    if not found:
        problems.extend(reasons)
    return "; ".join(problems) or None


def _backend() -> str | None:
    from voirs_vocoder.runtime.providers.tensorrt.flavor import available_flavors

    found, _ = available_flavors()
    return " or ".join(f"{flavor.name} {flavor.version}" for flavor in found) or None


TENSORRT_ENGINE = Provider(
    name="tensorrt-engine",
    on_gpu=True,
    problem=_problem,
    backend=_backend,
    open_artifact=_open_artifact,
    int8_target="tensorrt",
    auto_rank=100,
    prepares_shapes=True,
)
