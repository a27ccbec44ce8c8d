"""PyTorch as users run it: eager, in BF16 in two ways, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmark.peers.contract import CaseFacts, Contender, Feed, Network, OpenRequest, Peer
from tests.benchmark.peers.synthesis import GraphContender, cannot_run_in_windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from voirs_vocoder.reference_models.family import GraphSpec

__all__ = ["TORCH", "TORCH_PEERS", "torch_networks"]

_Wrap = Callable[["nn.Module"], Callable[..., "Tensor | tuple[Tensor, ...]"]]


def torch_networks(request: OpenRequest, wrap: _Wrap = lambda module: module) -> dict[str, Network]:
    """The graphs of one pass in PyTorch, by role.

    Args:
        request: The model.
        wrap: Turns a module into what is called with its inputs.
    """
    import torch

    from tests.benchmark.peers.user_networks import user_networks

    torch.set_num_threads(request.threads)
    networks = user_networks(request.facts.family, Path(request.facts.checkpoint))
    return {
        spec.role: partial(_run, spec, wrap(spec.module))
        for spec in networks.specs
        if spec.role in request.facts.roles
    }


def _run(spec: GraphSpec, module: Callable[..., Any], feed: Feed) -> Mapping[str, Any]:
    import torch

    with torch.inference_mode():
        outputs = module(*(torch.from_numpy(feed[tensor.name]) for tensor in spec.inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {
            tensor.name: output.float().numpy() for tensor, output in zip(spec.outputs, outputs, strict=True)
        }


def _in_bf16(module: nn.Module) -> Callable[..., Any]:
    import torch

    converted = module.to(torch.bfloat16)
    return lambda *inputs: converted(*(tensor.to(torch.bfloat16) for tensor in inputs))


def _autocast(module: nn.Module) -> Callable[..., Any]:
    import torch

    def run(*inputs: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return module(*inputs)

    return run


def _compiled(module: nn.Module) -> Callable[..., Any]:
    import torch

    compiled: Callable[..., Any] = torch.compile(module)
    return compiled


def _open(wrap: _Wrap, request: OpenRequest) -> Contender:
    return GraphContender(request.manifest, torch_networks(request, wrap), request.facts.transform)


def _files(folder: Path, facts: CaseFacts) -> Sequence[Path]:
    del folder
    return [Path(facts.checkpoint)]


TORCH = Peer(
    name="torch",
    how="PyTorch, eager",
    arithmetic="fp32",
    open=partial(_open, lambda module: module),
    files=_files,
    cannot=cannot_run_in_windows,
)
"""The reference of quality: the model as it is, in FP32."""

TORCH_PEERS = (
    TORCH,
    Peer(
        name="torch-bf16",
        how="PyTorch, model.bfloat16()",
        arithmetic="bf16",
        open=partial(_open, _in_bf16),
        files=_files,
        cannot=cannot_run_in_windows,
    ),
    Peer(
        name="torch-autocast",
        how="PyTorch, autocast to BF16",
        arithmetic="bf16",
        open=partial(_open, _autocast),
        files=_files,
        cannot=cannot_run_in_windows,
    ),
    Peer(
        name="torch-compile",
        how="torch.compile(model), defaults",
        arithmetic="fp32",
        open=partial(_open, _compiled),
        files=_files,
        cannot=cannot_run_in_windows,
    ),
)
"""PyTorch in its variants."""
