"""The models that the project's benchmark measures: HiFi-GAN V1, V2 and V3 in their published sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import FAMILY, HifiGan
from voirs_vocoder.runtime import Artifact, get_convention
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress

__all__ = ["VARIANTS", "BenchModel", "official_config", "random_weights", "shipped_or_random"]

SHIPPED_VARIANT = "v2"

_MEL: dict[str, object] = {
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
}
_STAGES_OF_4: dict[str, object] = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
}
# github.com/jik876/hifi-gan at 4769534, config_v1.json to config_v3.json.
_OFFICIAL: dict[str, dict[str, object]] = {
    "v1": {**_STAGES_OF_4, "upsample_initial_channel": 512, **_MEL},
    "v2": {**_STAGES_OF_4, "upsample_initial_channel": 128, **_MEL},
    "v3": {
        "resblock": "2",
        "upsample_rates": [8, 8, 4],
        "upsample_kernel_sizes": [16, 16, 8],
        "upsample_initial_channel": 256,
        "resblock_kernel_sizes": [3, 5, 7],
        "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
        **_MEL,
    },
}
VARIANTS = tuple(_OFFICIAL)

# What every convolution puts out on average; after a few residual sums that is about 1.
_DEVIATION = 0.5
_PROBE_FRAMES = 32
_CALIBRATION_FRAMES = 200


@dataclass(frozen=True)
class BenchModel:
    """A model in PyTorch, and what is made of it.

    Attributes:
        variant: `v1`, `v2` or `v3`.
        module: In evaluation mode, free of weight norm.
        artifact: Exported from it; V1 with INT8.
        stock: What `torch.onnx.export` makes of it, untouched.
    """

    variant: str
    module: HifiGan
    artifact: Artifact
    stock: Path


def official_config(variant: str) -> dict[str, object]:
    """The published configuration of `v1`, `v2` or `v3`, less what only training reads."""
    return dict(_OFFICIAL[variant])


def random_weights(config: HifiGanConfig, seed: int) -> dict[str, Tensor]:
    """Weights whose activations neither die nor explode, so that they take the time and the INT8 ranges of speech.

    Layer by layer, in the order of execution, normal weights are scaled to a common output deviation, as in D. Mishkin
    and J. Matas, All you need is a good init, arXiv 1511.06422, algorithm 1, in a single iteration.

    Args:
        config: Of the network.
        seed: Of the weights.

    Returns:
        Parameter name to float32 tensor, without weight norm.
    """
    generator = torch.Generator().manual_seed(seed)
    model = HifiGan(config)
    fold_weight_norm(model)
    mel = torch.from_numpy(bench_mel(get_convention("hifigan-22k"), _PROBE_FRAMES))

    def rescale(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del inputs
        scale = _DEVIATION / output.std()
        layer.get_parameter("weight").mul_(scale)
        return output * scale

    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight.normal_(generator=generator)
                layer.get_parameter("bias").zero_()
                layer.register_forward_hook(rescale)
        model(mel[None])
    return model.state_dict()


def shipped_or_random(
    variant: str, folder: Path, data: Path, *, int8: bool, reuse: bool, progress: Progress
) -> BenchModel:
    """The shipped V2, or V1 and V3 with random weights, exported both ways.

    Args:
        variant: `v1`, `v2` or `v3`.
        folder: Where everything is written.
        data: The project's `artifacts/` folder.
        int8: Make INT8 graphs as well, calibrated on a single mel: the share of arithmetic that may stay float is
            bounded, so that speed hardly depends on the ranges.
        reuse: Keep what an earlier run wrote.
        progress: Told what is being done.

    Raises:
        InputError: The project's data is not there.
    """
    folder = folder / variant
    folder.mkdir(parents=True, exist_ok=True)
    if variant == SHIPPED_VARIANT:
        checkpoint = data / "checkpoints" / "hifigan_v2_kerstin" / "model.safetensors"
        if not checkpoint.is_file():
            raise InputError(f"{checkpoint}: not found; run the benchmark in the project's folder")
    else:
        checkpoint = folder / "model.safetensors"
        config = official_config(variant)
        checkpoint.with_name("config.json").write_text(json.dumps(config), encoding="utf-8")
        save_safetensors(random_weights(HifiGanConfig.from_mapping(config), seed=0), checkpoint)
    module = FAMILY.load(checkpoint, None)
    stock = folder / "stock.onnx"
    root = folder / "artifact"
    if reuse and stock.is_file() and root.is_dir():
        return BenchModel(variant, module, Artifact.open(root), stock)
    request = ExportRequest(
        family="hifigan",
        checkpoint=checkpoint,
        config=None,
        output=root,
        precisions=("fp32", "int8") if int8 else ("fp32",),
        calibration=_calibration(folder) if int8 else None,
        force=True,
    )
    artifact = export_artifact(request, progress)
    progress("exporting with torch.onnx alone", 0, 0)
    _export_stock(module, stock)
    return BenchModel(variant, module, artifact, stock)


def _calibration(folder: Path) -> Path:
    calibration = folder / "calibration"
    calibration.mkdir(exist_ok=True)
    np.save(calibration / "mel.npy", bench_mel(get_convention("hifigan-22k"), _CALIBRATION_FRAMES))
    return calibration


def _export_stock(module: HifiGan, path: Path) -> None:
    mel = torch.from_numpy(bench_mel(get_convention("hifigan-22k"), _PROBE_FRAMES))[None]
    frames = torch.export.Dim("frames", min=1, max=1 << 20)
    program = torch.onnx.export(
        module,
        (mel,),
        input_names=["mel"],
        output_names=["audio"],
        dynamic_shapes=({2: frames},),
        external_data=False,
        verbose=False,
        dynamo=True,
    )
    if program is None:
        raise InputError("torch.onnx.export returned no program; update torch")
    program.save(path)
