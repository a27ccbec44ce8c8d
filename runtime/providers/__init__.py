"""Providers: the requested one runs, or an error states why not. Only `auto` may choose, and it logs what it chose.

`PROVIDERS` is the one place that lists those built in. A package adds its own with `register_provider`, or with an
entry point in the group `voirs_vocoder.providers` that names a `Provider`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, GraphEntry, Precision, Target
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import ProviderError
from voirs_vocoder.runtime.providers.checked import CheckedSession
from voirs_vocoder.runtime.providers.cuda import CUDA
from voirs_vocoder.runtime.providers.device_memory import free_bytes_of_gpu
from voirs_vocoder.runtime.providers.onnxruntime import CPU
from voirs_vocoder.runtime.providers.openvino import OPENVINO
from voirs_vocoder.runtime.providers.provider import INT8, Provider
from voirs_vocoder.runtime.providers.session import Session
from voirs_vocoder.runtime.providers.tensorrt import TENSORRT_ENGINE
from voirs_vocoder.runtime.providers.tensorrt_execution import TENSORRT, TENSORRT_RTX

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "AUTO",
    "ENTRY_POINT_GROUP",
    "INT8",
    "PROVIDERS",
    "Provider",
    "Session",
    "activation_bytes",
    "all_providers",
    "get_provider",
    "int8_target",
    "measurable_providers",
    "open_session",
    "prepares_shapes",
    "provider_names",
    "register_provider",
    "runs_on_gpu",
    "target_of",
]

PROVIDERS: tuple[Provider, ...] = (CPU, OPENVINO, CUDA, TENSORRT, TENSORRT_RTX, TENSORRT_ENGINE)
"""The providers built in, in the order in which they are listed."""

AUTO = "auto"
"""The name that asks for the first provider that can run the graph, by `Provider.auto_rank`."""

ENTRY_POINT_GROUP = "voirs_vocoder.providers"

_log = logging.getLogger(__name__)
_registered: dict[str, Provider] = {}


def register_provider(provider: Provider) -> None:
    """Make a provider known to this process: to `open_session`, to `auto`, to `doctor` and to the command line.

    An installed package does the same with an entry point in the group `voirs_vocoder.providers`.

    Args:
        provider: The provider; its name must be new.

    Raises:
        ProviderError: The name is taken.
    """
    if provider.name in (AUTO, *provider_names()):
        raise ProviderError(f"a provider's name must be new, got {provider.name!r}; choose another one")
    _registered[provider.name] = provider


def all_providers() -> tuple[Provider, ...]:
    """All providers: those built in, then those registered, then those of installed packages."""
    return tuple(get_provider(name) for name in provider_names())


def measurable_providers(*, in_other_processes: bool = False) -> tuple[Provider, ...]:
    """The providers that can run on this machine and load a graph within seconds, in the order of `all_providers`.

    Args:
        in_other_processes: True leaves out what `register_provider` made known to this process only.
    """
    return tuple(
        provider
        for provider in all_providers()
        if provider.measurable
        and not (in_other_processes and provider.name in _registered)
        and provider.problem() is None
    )


def provider_names() -> tuple[str, ...]:
    """Names of all providers, in the order of `all_providers`; `auto` is not among them."""
    return tuple(dict.fromkeys((*_own(), *_installed())))


def get_provider(name: str) -> Provider:
    """The provider of a name.

    Raises:
        ProviderError: No provider has the name.
    """
    provider = _found(name)
    if provider is None:
        raise ProviderError(f"unknown provider {name!r}; known: {AUTO}, {', '.join(provider_names())}")
    return provider


def runs_on_gpu(name: str) -> bool:
    """Whether sessions of a provider run on a GPU; False for a session's own name that is no provider's."""
    provider = _found(name)
    return provider is not None and provider.on_gpu


def activation_bytes(name: str, config: SessionConfig) -> int:
    """Memory for the intermediate results of a graph on a provider, in bytes.

    Args:
        name: Name of the provider.
        config: The memory budget, if the caller gave one, and the GPU.
    """
    on_gpu = runs_on_gpu(name)
    free = free_bytes_of_gpu(config.device) if on_gpu and config.activation_budget_bytes is None else None
    return config.activation_bytes(on_gpu=on_gpu, free_bytes=free)


def prepares_shapes(name: str) -> bool:
    """Whether a provider prepares every new shape before it runs it; False for a name that is no provider's."""
    provider = _found(name)
    return provider is not None and provider.prepares_shapes


def int8_target(name: str) -> Target:
    """The INT8 graphs that a provider computes in integers.

    Args:
        name: Name of the provider.

    Raises:
        ProviderError: The provider is unknown, or it computes no graph in integers.
    """
    target = get_provider(name).int8_target
    if target is None:
        able = ", ".join(provider.name for provider in all_providers() if provider.int8_target is not None)
        raise ProviderError(
            f"provider {name!r} has no integer convolution; use precision fp16, or one of the providers {able}"
        )
    return target


def target_of(artifact: Artifact, precision: Precision, provider: str) -> Target | None:
    """The target of an artifact's graphs of a precision that a provider runs; None where the graphs have no targets.

    Args:
        artifact: The opened artifact.
        precision: Precision of the graphs.
        provider: Name of the provider.

    Raises:
        ProviderError: The graphs have targets, and the provider runs none of them.
    """
    targeted = any(graph.target for graph in artifact.manifest.graphs if graph.precision == precision)
    return int8_target(provider) if targeted else None


def open_session(
    artifact: Artifact,
    role: str,
    precision: Precision,
    provider: str,
    config: SessionConfig,
    *,
    in_buckets: bool = False,
) -> tuple[Session, GraphEntry]:
    """Load one graph of an artifact on a provider.

    Args:
        artifact: The opened artifact.
        role: Role of the graph, such as `offline`.
        precision: Precision of the graph, such as `fp32`.
        provider: Name of a provider, or `auto`.
        config: Threads, device, memory and buckets of the session.
        in_buckets: Whether the caller can run the graph of `BATCH_ROLES`, which takes lengths, in place of that of
            `role`: it is loaded where `config` asks for buckets.

    Returns:
        The session, which compares its inputs and outputs with the manifest in every run, and the manifest entry of
        the graph that it runs (for an engine, of the graph that it was built from).

    Raises:
        ProviderError: The provider is unknown, cannot run on this machine, or cannot compute in TF32, round floats to
            BF16 or run in parallel where `config` asks for it; or the artifact lacks the graph.
        ArtifactError: The file is missing or damaged.
    """
    if provider == AUTO:
        return _open_first(artifact, role, precision, config, in_buckets=in_buckets)
    chosen = get_provider(provider)
    if config.tf32:
        _require_able(chosen, lambda each: each.has_tf32, "tf32 must be off", config.tf32)
    if config.bf16_floats:
        _require_bf16_floats(chosen, precision)
    if config.parallel_runs > 1:
        _require_able(
            chosen, lambda each: each.runs_in_parallel, "parallel_runs must be 1", config.parallel_runs
        )
    loaded = _role_in_buckets(artifact, role, precision, chosen, config) if in_buckets else role
    entry = artifact.graph(loaded, precision, target_of(artifact, precision, provider))
    session = chosen.open(artifact, entry, config)
    if in_buckets and loaded in BATCH_ROLES and config.buckets is None and chosen.prepares_shapes:
        _log.warning(
            "%s has no graph %s, so provider %s prepares every new length before it runs it; export it again",
            artifact.root,
            BATCH_ROLES[loaded],
            provider,
        )
    return CheckedSession(session, entry, artifact.manifest.hop_length), entry


def _require_able(provider: Provider, is_able: Callable[[Provider], bool], rule: str, got: object) -> None:
    """Refuse a setting that the provider lacks; the error names the providers that have it."""
    if not is_able(provider):
        able = ", ".join(each.name for each in all_providers() if is_able(each))
        raise ProviderError(
            f"{rule} on provider {provider.name!r}, got {got}; use one of the providers {able}"
        )


def _require_bf16_floats(provider: Provider, precision: Precision) -> None:
    _require_able(provider, lambda each: each.has_bf16_floats, "bf16_floats must be off", got=True)
    if precision != INT8:
        raise ProviderError(
            f"bf16_floats must be off for graphs of precision {precision!r}, got True; use precision 'int8', or graphs "
            "of precision 'bf16'"
        )
    problem = provider.bf16_problem()
    if problem is not None:
        raise ProviderError(f"bf16_floats must be off here, got True: {problem}")


def _role_in_buckets(
    artifact: Artifact, role: str, precision: Precision, provider: Provider, config: SessionConfig
) -> str:
    """The role of the graph that runs in buckets in place of another, or that other role where there are none."""
    if role not in BATCH_ROLES or config.buckets == ():
        return role
    if config.buckets is not None:
        return BATCH_ROLES[role]
    held = {graph.role for graph in artifact.manifest.graphs}
    if provider.open_graph is None:
        held = {engine.role for engine in artifact.manifest.engines if engine.precision == precision}
    return BATCH_ROLES[role] if provider.prepares_shapes and BATCH_ROLES[role] in held else role


def _own() -> dict[str, Provider]:
    return {provider.name: provider for provider in PROVIDERS} | _registered


def _found(name: str) -> Provider | None:
    # Installed packages are searched last, since that takes longer than anything else at the start.
    provider = _own().get(name)
    if provider is None and name in _installed():
        provider = _installed()[name].load()
    return provider


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # it takes longer to import than this package

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _open_first(
    artifact: Artifact, role: str, precision: Precision, config: SessionConfig, *, in_buckets: bool
) -> tuple[Session, GraphEntry]:
    ranked = sorted(
        (provider.auto_rank, provider.name) for provider in all_providers() if provider.auto_rank is not None
    )
    reasons = []
    for _, name in ranked:
        try:
            opened = open_session(artifact, role, precision, name, config, in_buckets=in_buckets)
        except ProviderError as error:
            reasons.append(str(error))
            continue
        _log.info("auto chose provider %s (passed over: %s)", name, "; ".join(reasons) or "none")
        return opened
    raise ProviderError(f"auto found no provider: {'; '.join(reasons)}")
