"""Providers: what was asked for runs, or a clear error says why. Only `auto` may choose, and it says what it chose."""

from __future__ import annotations

import logging

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Int8Target, Precision
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["PROVIDERS", "Session", "int8_target", "open_session"]

PROVIDERS = ("cpu", "openvino", "cuda", "tensorrt", "tensorrt-engine")

# Which of the two INT8 graphs a provider runs in integers; None where it would compute in float behind the name.
_INT8_TARGETS: dict[str, Int8Target | None] = {
    "cpu": "cpu",
    "openvino": "tensorrt",
    "cuda": None,
    "tensorrt": "tensorrt",
    "tensorrt-engine": "tensorrt",
}
# Large graphs alone are worth reading piece by piece.
_SPLIT_FROM_BYTES = 8 << 20
_AUTO_ORDER = ("tensorrt-engine", "cuda", "cpu")

_log = logging.getLogger(__name__)


def int8_target(provider: str) -> Int8Target:
    """The INT8 graph that a provider runs.

    Raises:
        ProviderError: It runs none in integers.
    """
    target = _INT8_TARGETS[provider]
    if target is None:
        raise ProviderError(
            f"provider {provider!r} has no integer convolution; use precision fp16 or provider tensorrt"
        )
    return target


def open_session(
    artifact: Artifact, role: str, precision: Precision, provider: str, config: SessionConfig
) -> tuple[Session, GraphEntry]:
    """Load one graph of an artifact on a provider.

    Args:
        artifact: Where the graph or engine lies.
        role: Such as `offline`.
        precision: Such as `fp32`.
        provider: One of `PROVIDERS`, or `auto`.
        config: Threads, device and so on.

    Returns:
        The session, and the entry of the graph that it runs (for an engine, of the graph that it was built from).

    Raises:
        ProviderError: The provider is unknown or cannot run here, or the artifact lacks the graph.
        ArtifactError: The file is missing or damaged.
    """
    if provider == "auto":
        return _open_first(artifact, role, precision, config)
    if provider not in PROVIDERS:
        raise ProviderError(f"unknown provider {provider!r}; known: auto, {', '.join(PROVIDERS)}")
    target = int8_target(provider) if precision == "int8" else None
    entry = artifact.graph(role, precision, target)
    if provider == "tensorrt-engine":
        from voirs_vocoder.runtime.providers.tensorrt.engine import open_engine_session

        return open_engine_session(artifact, role, precision, config), entry
    from voirs_vocoder.runtime.providers.onnxruntime import OrtSession

    if (provider, precision) == ("cpu", "fp32") and entry.file.size_bytes >= _SPLIT_FROM_BYTES:
        return OrtSession(artifact.read_split(entry.file), entry, provider, config), entry
    data = artifact.read(entry.file)
    if provider == "openvino":
        from voirs_vocoder.runtime.providers.openvino import OpenVinoSession

        return OpenVinoSession(data, entry, config), entry
    return OrtSession(data, entry, provider, config, artifact.manifest.hop_length), entry


def _open_first(
    artifact: Artifact, role: str, precision: Precision, config: SessionConfig
) -> tuple[Session, GraphEntry]:
    reasons = []
    for provider in _AUTO_ORDER:
        try:
            opened = open_session(artifact, role, precision, provider, config)
        except ProviderError as error:
            reasons.append(str(error))
            continue
        _log.info("auto chose provider %s (passed over: %s)", provider, "; ".join(reasons) or "none")
        return opened
    raise ProviderError(f"auto found no provider: {'; '.join(reasons)}")
