"""Vocos as a family: published checkpoints in, one graph from mel to audio out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, VocoderModule, mel_to_audio_graph
from voirs_vocoder.reference_models.layouts.layout import ReadModel
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
    # A norm is named after its module or, with its weights moved into the next layer, after its operator.
    "*[nN]orm*",
    *(
        f"{operator}.*"
        for operator in (
            *("Mul", "Add", "Div", "Clip", "Exp", "Cos", "Sin"),
            *("Concat", "Slice", "Split", "Squeeze", "Unsqueeze", "Transpose", "Reshape"),
        )
    ),
)
_INT8_FLOAT = ("backbone.embed*", "backbone.convnext.*.dwconv", "head.*")


class VocosFamily:
    """Vocos for mels, in any size."""

    def load(self, checkpoint: Path, config: Path | None) -> Vocos:
        """Read the files of a training; see `Family.load`."""
        return self.model_of(read_model(checkpoint, config, "vocos"))

    def model_of(self, read: ReadModel) -> Vocos:
        """Make the network that a layout read, with what scales channels folded; see `LayoutFamily.model_of`."""
        values = read.family_config(VocosConfig)
        model = read.module(lambda: Vocos(values))
        model.fold()
        return model

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, mel to audio."""
        if not isinstance(module, Vocos):
            raise ReferenceModelError(f"the family vocos makes graphs of Vocos, got {type(module).__name__}")
        config = module.config
        # The official head gives one hop less with padding `center`.
        official = "(frames-1)*hop_length" if config.padding == "center" else "frames*hop_length"
        return [
            mel_to_audio_graph(
                module,
                context_frames=config.context_frames,
                look_ahead_frames=config.look_ahead_frames,
                keep_float={"fp16": _FP16_FLOAT, "int8": _INT8_FLOAT},
                details={"padding": config.padding, "official_samples": official},
            )
        ]


VOCOS = VocosFamily()
