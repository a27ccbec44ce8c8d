"""BigVGAN as a family: published checkpoints in, one graph from mel to audio out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.bigvgan.model import BigVgan
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, TensorSpec, VocoderModule
from voirs_vocoder.reference_models.layouts.table import read_model

__all__ = ["BIGVGAN", "BigVganFamily"]

# Everything but the convolutions with trained weights: the phase of a sine, the reciprocals in the filters and the
# magnitude of the activations need the precision and the range of FP32.
_ACTIVATIONS = ("Pad.*", "Conv.*", "Sin.*", "Mul.*", "Add.*")


class BigVganFamily:
    """BigVGAN of version 1 and 2, in any official configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> BigVgan:
        """Read a published checkpoint; see `Family.load`."""
        read = read_model(checkpoint, config, "bigvgan")
        values = read.family_config(BigVganConfig)
        return read.module(lambda: BigVgan(values))

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, mel to audio."""
        if not isinstance(module, BigVgan):
            raise ReferenceModelError(
                f"the family bigvgan makes graphs of BigVgan, got {type(module).__name__}"
            )
        description, config = module.description, module.config
        last = "Tanh.*" if config.use_tanh_at_final else "Clip.*"
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
