"""WaveGlow and the diffusion models of the project's benchmark, in their published sizes with random weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet
from voirs_vocoder.reference_models.diffusion.unet_config import UNetConfig
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import WaveGlow
from voirs_vocoder.runtime import Artifact, get_convention
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress

__all__ = ["FAMILY_MODELS", "FamilyModel", "family_model"]

_MEL_22K: dict[str, object] = {"sample_rate": 22050, "n_mels": 80, "n_fft": 1024, "hop_samples": 256}
# github.com/NVIDIA/waveglow at 8afb643, config.json.
_WAVEGLOW: dict[str, object] = {
    "waveglow_config": {
        "n_mel_channels": 80,
        "n_flows": 12,
        "n_group": 8,
        "n_early_every": 4,
        "n_early_size": 2,
        "WN_config": {"n_layers": 8, "n_channels": 256, "kernel_size": 3},
    },
    "data_config": {
        "sampling_rate": 22050,
        "filter_length": 1024,
        "hop_length": 256,
        "win_length": 1024,
        "mel_fmin": 0.0,
        "mel_fmax": 8000.0,
    },
}
# github.com/lmnt-com/diffwave at 0594106, params.py.
_DIFFWAVE: dict[str, object] = {
    **_MEL_22K,
    "residual_layers": 30,
    "residual_channels": 64,
    "dilation_cycle_length": 10,
    "noise_schedule": np.linspace(1e-4, 0.05, 50).tolist(),
    "inference_noise_schedule": [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5],
}
_UNET: dict[str, object] = {
    **_MEL_22K,
    "channels": [64, 128, 256, 256],
    "blocks": 1,
    "group_channels": 16,
    "attention_heads": 4,
    "attention_reach_frames": 8,
    "conditioner_channels": 8,
    "embedding_channels": 256,
    "noise_schedule": np.linspace(1e-4, 0.05, 200).tolist(),
    "sampler": "dpm-solver++",
    "steps": 6,
    "audio_rms": 0.1,
    "conditioning_dropout": 0.1,
}
_CALIBRATION_FRAMES = 200
_TRACED_FRAMES = 24
_DORMANT_DEVIATION = 0.02


@dataclass(frozen=True)
class _Kind:
    """A model of the benchmark: its name in reports, family, configuration, main graph and precisions."""

    name: str
    family: str
    config: Mapping[str, object]
    config_name: str
    role: str
    int8: bool


FAMILY_MODELS = {
    "waveglow": _Kind("WaveGlow 256ch", "waveglow", _WAVEGLOW, "config.json", "offline", int8=False),
    "diffwave": _Kind("DiffWave base", "diffwave", _DIFFWAVE, "params.json", "step", int8=True),
    "diffwave-unet": _Kind("U-Net", "diffwave-unet", _UNET, "config.json", "step", int8=True),
}
"""By family."""


@dataclass(frozen=True)
class FamilyModel:
    """A model in PyTorch, and what is made of it.

    Attributes:
        name: In reports.
        spec: The graph that takes its time.
        artifact: Exported from it.
        stock: What `torch.onnx.export` makes of the same module, untouched.
    """

    name: str
    spec: GraphSpec
    artifact: Artifact
    stock: Path


def family_model(family: str, folder: Path, *, reuse: bool, progress: Progress) -> FamilyModel:
    """Make a model with random weights, and export it both ways.

    Args:
        family: A key of `FAMILY_MODELS`.
        folder: Where everything is written.
        reuse: Keep what an earlier run wrote.
        progress: Told what is being done.

    Raises:
        ExportError: A graph does not compute what the model computes.
    """
    kind = FAMILY_MODELS[family]
    folder = folder / family
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, stock, root = folder / "model.safetensors", folder / "stock.onnx", folder / "artifact"
    if not (reuse and checkpoint.is_file()):
        (folder / kind.config_name).write_text(json.dumps(kind.config), encoding="utf-8")
        save_safetensors(_random_model(kind).state_dict(), checkpoint)
    loader = get_family(family)
    spec = next(spec for spec in loader.graphs(loader.load(checkpoint, None)) if spec.role == kind.role)
    if reuse and stock.is_file() and root.is_dir():
        return FamilyModel(kind.name, spec, Artifact.open(root), stock)
    request = ExportRequest(
        family=family,
        checkpoint=checkpoint,
        config=None,
        output=root,
        precisions=("fp32", "int8") if kind.int8 else ("fp32",),
        calibration=_calibration(folder) if kind.int8 else None,
        force=True,
    )
    artifact = export_artifact(request, progress)
    progress("exporting with torch.onnx alone", 0, 0)
    _export_stock(spec, stock)
    return FamilyModel(kind.name, spec, artifact, stock)


def _random_model(kind: _Kind) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module
    if kind.family == "waveglow":
        model = WaveGlow(WaveGlowConfig.from_mapping(kind.config))
    elif kind.family == "diffwave":
        model = DiffWave(DiffWaveConfig.from_mapping(kind.config))
    else:
        model = DiffWaveUNet(UNetConfig.from_mapping(kind.config))
    for parameter in model.parameters():
        # What starts training as zero would make the rest of the network cheap to compute.
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, 0.0, _DORMANT_DEVIATION)
    return model


def _calibration(folder: Path) -> Path:
    calibration = folder / "calibration"
    calibration.mkdir(exist_ok=True)
    np.save(calibration / "mel.npy", bench_mel(get_convention("lmnt-diffwave-22k"), _CALIBRATION_FRAMES))
    return calibration


def _export_stock(spec: GraphSpec, path: Path) -> None:
    examples = example_inputs(spec, {"batch": 1, "samples": _TRACED_FRAMES * 256}, _TRACED_FRAMES, seed=0)
    frames = torch.export.Dim("frames", min=1, max=1 << 16)
    shapes = tuple(
        {len(tensor.shape) - 1: _length(str(tensor.shape[-1]), frames)} if len(tensor.shape) > 1 else {}
        for tensor in spec.inputs
    )
    with warnings.catch_warnings():
        # It remarks on axes of one name, and on its own use of torch.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            spec.module,
            tuple(torch.from_numpy(value) for value in examples.values()),
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    if program is None:
        raise InputError("torch.onnx.export returned no program; update torch")
    program.save(path)


def _length(axis: str, frames: torch.export.Dim) -> object:
    """`frames`, or a multiple of it; audio samples are 256 of them, which all three models share."""
    factor = {"frames": 1, "samples": 256}.get(axis) or int(axis.partition("*")[2])
    return frames if factor == 1 else factor * frames
