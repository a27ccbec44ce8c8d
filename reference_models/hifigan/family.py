"""HiFi-GAN as a family: published checkpoints in, one graph from mel to audio out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import (
    LOG_MELS_OF_SPEECH,
    GraphSpec,
    VocoderModule,
    mel_to_audio_graph,
)
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.layouts.layout import ReadModel
from voirs_vocoder.reference_models.layouts.table import read_model

__all__ = ["HIFIGAN", "HifiGanFamily"]


class HifiGanFamily:
    """HiFi-GAN V1, V2, V3 and any custom official configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> HifiGan:
        """Read the files of any trainer in `layouts`; see `Family.load`."""
        return self.model_of(read_model(checkpoint, config, "hifigan"))

    def load_unnormalized(self, checkpoint: Path, config: Path | None) -> HifiGan:
        """Read a network that takes mels as they are, though its trainer normalizes them; see `NormalizingFamily`."""
        return self.model_of(read_model(checkpoint, config, "hifigan", normalize=False))

    def model_of(self, read: ReadModel) -> HifiGan:
        """Make the generator that a layout read; see `LayoutFamily.model_of`."""
        values = read.family_config(HifiGanConfig)
        return read.module(lambda: HifiGan(values))

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the one graph, mel to audio."""
        if not isinstance(module, HifiGan):
            raise ReferenceModelError(
                f"the family hifigan makes graphs of HifiGan, got {type(module).__name__}"
            )
        config = module.config
        # Where the network normalizes the mel, its statistics are those of speech in this convention.
        examples = LOG_MELS_OF_SPEECH
        if config.normalized_input:
            examples = float(module.mean.mean()), float(module.scale.mean())
        return [
            mel_to_audio_graph(
                module,
                context_frames=config.context_frames,
                look_ahead_frames=config.look_ahead_frames,
                examples=examples,
                # FP16 errors at the head pass through the whole network: on the shipped V2, leaving the first two
                # layers in FP32 (1% of the arithmetic) raises the mean SNR from 46 to 56 dB. The first and last
                # convolutions, 0.1% of the arithmetic, are also the ones that INT8 hurts most.
                keep_float={
                    "fp16": ("conv_pre*", "LeakyRelu.0", "ups.0", "conv_post", "Tanh.*"),
                    "int8": ("conv_pre*", "conv_post", *_noisy_in_int8(config)),
                },
                # Log mels are large: the order in which they add up would change the last digits of a stream.
                steady_parts=("conv_pre",),
            )
        ]


def _noisy_in_int8(config: HifiGanConfig) -> tuple[str, ...]:
    """The block that INT8 hurts most in a generator as narrow as V2: of the first stage, the one of the widest kernel.

    It is 13% of V2's arithmetic. Wider generators gain more time by INT8 than they lose quality there.
    """
    kernels = config.resblock_kernel_sizes
    if not 64 < config.upsample_initial_channel <= 128 or len(kernels) < 2:
        return ()
    return (f"resblocks.{kernels.index(max(kernels))}.*",)


HIFIGAN = HifiGanFamily()
