"""PyTorch on the GPU that our providers are measured on: eager, as a CUDA graph, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tests.gpu.measuring import timed
from tests.gpu.report import Figure
from tests.gpu.sections import Rig
from voirs_vocoder.reference_models import published

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["pytorch"]

_FRAMES = 200
_CONFIGS = {
    "hifigan-v1": published.HIFIGAN_V1,
    "hifigan-v2": published.HIFIGAN_V2,
    "hifigan-v3": published.HIFIGAN_V3,
}


def pytorch(rig: Rig) -> Iterator[Figure]:
    """Time of PyTorch for one-pass models in FP16, inputs and outputs on the GPU."""
    try:
        import torch
    except ImportError:
        return
    from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
    from voirs_vocoder.reference_models.hifigan.model import HifiGan

    if not rig.rehearsal and not torch.cuda.is_available():
        return
    device = "cpu" if rig.rehearsal else "cuda"
    dtype = torch.float32 if rig.rehearsal else torch.float16
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        for name, config in _CONFIGS.items():
            torch.manual_seed(0)
            model = HifiGan(HifiGanConfig.from_mapping(config)).eval().to(device, dtype)
            for batch in (1,) if rig.rehearsal or name != "hifigan-v1" else (1, 16):
                mel = torch.randn(batch, 80, 40 if rig.rehearsal else _FRAMES, device=device, dtype=dtype)
                title = f"{name} fp16 in PyTorch: {batch} x {_FRAMES} frames"
                yield timed(f"{title}, eager", _synchronized(model, mel), budget_s=0.3)
                if device == "cuda":
                    yield timed(f"{title}, CUDA graph", _captured(model, mel), budget_s=0.3)
                    compiled: nn.Module = torch.compile(model, mode="reduce-overhead")  # type: ignore[assignment]
                    for _ in range(3):
                        _synchronized(compiled, mel)()
                    yield timed(f"{title}, torch.compile", _synchronized(compiled, mel), budget_s=0.3)


def _synchronized(model: nn.Module, mel: Tensor) -> Callable[[], object]:
    import torch

    def run() -> None:
        model(mel)
        if mel.is_cuda:
            torch.cuda.synchronize()

    return run


def _captured(model: nn.Module, mel: Tensor) -> Callable[[], object]:
    import torch

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(mel)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(mel)

    def run() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return run
