"""Vocos as a family: published checkpoints in, one graph from mel to audio out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec, VocoderModule
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.vocos.model import Vocos

__all__ = ["VOCOS", "VocosFamily"]

# All but the two layers within a frame, which do 95% of the arithmetic of the published size, and what lies between
# them: norms sum squares, phases are not bounded, exponentials leave the range of FP16, and the residual path is as
# precise as its last sum.
_FP16_FLOAT = (
    "backbone.embed*",
    "backbone.convnext.*.dwconv",
    "head.*",
    *(
        f"{operator}.*"
        for operator in (
            *("ReduceMean", "Sub", "Mul", "Add", "Sqrt", "Div", "Clip", "Exp", "Cos", "Sin"),
            *("Concat", "Slice", "Split", "Squeeze", "Unsqueeze", "Transpose", "Reshape"),
        )
    ),
)
_INT8_FLOAT = ("backbone.embed*", "backbone.convnext.*.dwconv", "head.*")


class VocosFamily:
    """Vocos for mels, in any size."""

    def load(self, checkpoint: Path, config: Path | None) -> Vocos:
        """Read the files of a training; see `Family.load`."""
        read = read_model(checkpoint, config, "vocos")
        values = read.family_config(VocosConfig)
        model = read.module(lambda: Vocos(values))
        model.fold()
        return model

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, mel to audio."""
        if not isinstance(module, Vocos):
            raise ReferenceModelError(f"the family vocos makes graphs of Vocos, got {type(module).__name__}")
        description, config = module.description, module.config
        # The official head gives one hop less with padding `center`.
        official = "(frames-1)*hop_length" if config.padding == "center" else "frames*hop_length"
        return [
            GraphSpec(
                role="offline",
                module=module,
                inputs=(
                    TensorSpec(
                        "mel",
                        ("batch", description.mel.n_mels, "frames"),
                        # About what the log mels of speech are.
                        example_mean=-5.0,
                        example_std=2.0,
                    ),
                ),
                outputs=(TensorSpec("audio", ("batch", 1, f"frames*{description.hop_length}")),),
                context_frames=config.context_frames,
                look_ahead_frames=config.look_ahead_frames,
                keep_float={"fp16": _FP16_FLOAT, "int8": _INT8_FLOAT},
                details={"padding": config.padding, "official_samples": official},
            )
        ]


VOCOS = VocosFamily()
