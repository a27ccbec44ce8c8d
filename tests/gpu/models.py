"""`python -m tests.gpu.models`: the artifacts that the GPU tests run. It needs the extra `export`; the tests do not."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from artifacts.shipped import SHIPPED
from tests.benchmark.cases import CASES
from tests.gpu.artifacts import ARTIFACTS, SHIPPED_MODELS
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors

__all__ = ["main", "pattern_filled"]

_PATTERN_VALUES = 4099
# Published sizes, by the key of their case in the benchmark.
_PUBLISHED = {
    "hifigan-v1": "v1",
    "hifigan-v3": "v3",
    "waveglow-256": "waveglow",
    "diffwave-base": "diffwave",
}


def pattern_filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the same deviation made of one short pattern, which archives of an artifact compress to little.

    Args:
        state: Parameter name to float32 tensor.
    """
    generator = np.random.default_rng(0)
    pattern = torch.from_numpy(generator.standard_normal(_PATTERN_VALUES).astype(np.float32))

    def filled(values: Tensor) -> Tensor:
        # Small ones weigh nothing, and some of them must stay what they are, such as the rotations of a flow.
        if values.numel() < _PATTERN_VALUES or values.dim() < 2 or not values.any():
            return values.contiguous()
        repeated = pattern.repeat(math.ceil(values.numel() / _PATTERN_VALUES))[: values.numel()]
        return (repeated.reshape(values.shape) * values.std()).contiguous()

    return {name: filled(values) for name, values in state.items()}


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=ARTIFACTS,
    show_default=True,
    help="Folder for the artifacts.",
)
@click.option("--model", "models", multiple=True, help="Make this model only; may be repeated.")
@click.option("--force", is_flag=True, help="Make the artifacts that are there again.")
def main(output: Path, models: tuple[str, ...], force: bool) -> None:
    """Export the shipped checkpoints and models of published sizes with random weights, in FP32 and FP16."""
    output.mkdir(parents=True, exist_ok=True)
    weights = {shipped.artifact: (shipped.family, shipped.weights) for shipped in SHIPPED}
    for name in SHIPPED_MODELS:
        if _wanted(name, models, output, force):
            _export(*weights[name], output / name)
    for name, key in _PUBLISHED.items():
        if _wanted(name, models, output, force):
            case = CASES[key]
            assert case.random_weights is not None  # noqa: S101 - published sizes have random weights
            source = output / f".{name}"
            source.mkdir(exist_ok=True)
            (source / case.config_name).write_text(json.dumps(case.config), encoding="utf-8")
            save_safetensors(pattern_filled(case.random_weights(case.config)), source / "model.safetensors")
            _export(case.family, source / "model.safetensors", output / name)
            shutil.rmtree(source)


def _wanted(name: str, models: tuple[str, ...], output: Path, force: bool) -> bool:
    return (not models or name in models) and (force or not (output / name).exists())


def _export(family: str, checkpoint: Path, artifact: Path) -> None:
    click.echo(f"exporting {artifact.name}")
    request = ExportRequest(
        family, checkpoint, None, artifact, ("fp32", "fp16"), batch=True, sampler_graph=False, force=True
    )
    export_artifact(request)


if __name__ == "__main__":
    main()
