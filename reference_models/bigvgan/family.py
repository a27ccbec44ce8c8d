"""BigVGAN as a family: published checkpoints in, one graph from mel to audio out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, VocoderModule, mel_to_audio_graph
from voirs_vocoder.reference_models.layouts.layout import ReadModel
from voirs_vocoder.reference_models.layouts.table import read_model

__all__ = ["BIGVGAN", "BigVganFamily"]

# Everything but the convolutions with trained weights: the phase of a sine, the reciprocals in the filters and the
# magnitude of the activations need the precision and the range of FP32. Of Cos, Mul, Sin and Sub, a graph has those
# that the parameters of its activations need.
_ACTIVATIONS = ("Pad.*", "Conv.*", "[CMS][iou][blns].*", "Add.*")


class BigVganFamily:
    """BigVGAN of version 1 and 2, in any official configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> BigVgan:
        """Read a published checkpoint; see `Family.load`."""
        return self.model_of(read_model(checkpoint, config, "bigvgan"))

    def model_of(self, read: ReadModel) -> BigVgan:
        """Make the generator that a layout read; see `LayoutFamily.model_of`."""
        values = read.family_config(BigVganConfig)
        model = read.module(lambda: BigVgan(values))
        model.fold()
        return model

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, mel to audio."""
        if not isinstance(module, BigVgan):
            raise ReferenceModelError(
                f"the family bigvgan makes graphs of BigVgan, got {type(module).__name__}"
            )
        config = module.config
        last = "Tanh.*" if config.use_tanh_at_final else "Clip.*"
        return [
            mel_to_audio_graph(
                module,
                context_frames=config.look_ahead_frames,
                look_ahead_frames=config.look_ahead_frames,
                keep_float={
                    "fp16": ("conv_pre*", "ups.0.0", "conv_post", last, *_ACTIVATIONS),
                    "int8": ("conv_pre*", "conv_post", "Conv.*"),
                },
                # Log mels are large: the order in which they add up would change the last digits of a stream.
                steady_parts=("conv_pre",),
            )
        ]


BIGVGAN = BigVganFamily()
