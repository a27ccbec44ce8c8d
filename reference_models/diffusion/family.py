"""DiffWave and its U-Net variant as families: checkpoints in, a conditioner graph and a step graph out."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffusion.graphs import diffusion_graphs
from voirs_vocoder.reference_models.diffusion.unet import DiffWaveUNet
from voirs_vocoder.reference_models.diffusion.unet_config import CONDITIONER_REACH_FRAMES, UNetConfig
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.family import GraphSpec, VocoderModule
from voirs_vocoder.reference_models.layouts.layout import ReadModel
from voirs_vocoder.reference_models.layouts.table import read_model

__all__ = ["DIFFWAVE", "DIFFWAVE_UNET", "DiffWaveFamily", "UNetFamily"]

# Near the last step the noise that a network must return is a hundredth of its input, below the steps of 8 bits. These
# convolutions pass it on: quantized, they leave a noise floor that no later step removes.
_DIFFWAVE_FAINT_NOISE = ("network.residual_layers.[012].dilated_conv",)
# From this depth on they are so small a part that the search for the noisiest convolutions affords them by itself.
_DEEP_LAYERS = 30
_UNET_FAINT_NOISE = ("network.down_blocks.0.*.conv2", "network.up_blocks.0.*.conv1")


class DiffWaveFamily:
    """DiffWave of any official parameters."""

    def load(self, checkpoint: Path, config: Path | None) -> DiffWave:
        """Read the official file, with the weights under `model` and `params.json` beside it; see `Family.load`."""
        return self.model_of(read_model(checkpoint, config, "diffwave"))

    def model_of(self, read: ReadModel) -> DiffWave:
        """Make the model that a layout read; see `LayoutFamily.model_of`."""
        values = read.family_config(DiffWaveConfig)
        return read.module(lambda: DiffWave(values))

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the conditioner, which runs once, and the network, which runs at every step."""
        if not isinstance(module, DiffWave):
            raise ReferenceModelError(
                f"the family diffwave makes graphs of DiffWave, got {type(module).__name__}"
            )
        config = module.config
        return diffusion_graphs(
            module,
            n_mels=config.n_mels,
            conditioner_channels=config.n_mels,
            hop_length=config.hop_samples,
            samples="samples",
            conditioner_context_frames=1,
            step_context_frames=config.context_frames,
            # Mels of this convention lie in [0, 1].
            mel_mean=0.5,
            mel_std=0.2,
            step_keep_float={
                "fp16": ("network.diffusion_embedding.*", "network.output_projection"),
                "int8": (
                    "network.input_projection",
                    "network.output_projection",
                    *(_DIFFWAVE_FAINT_NOISE if config.residual_layers < _DEEP_LAYERS else ()),
                ),
            },
        )


class UNetFamily:
    """The U-Net of any configuration."""

    def load(self, checkpoint: Path, config: Path | None) -> DiffWaveUNet:
        """Read a state dict, alone or under `model`; see `Family.load`."""
        return self.model_of(read_model(checkpoint, config, "diffwave-unet"))

    def model_of(self, read: ReadModel) -> DiffWaveUNet:
        """Make the model that a layout read; see `LayoutFamily.model_of`."""
        values = read.family_config(UNetConfig)
        return read.module(lambda: DiffWaveUNet(values))

    def graphs(self, module: VocoderModule) -> list[GraphSpec]:
        """Describe the conditioner, which runs once, and the network, which runs at every step."""
        if not isinstance(module, DiffWaveUNet):
            raise ReferenceModelError(
                f"the family diffwave-unet makes graphs of DiffWaveUNet, got {type(module).__name__}"
            )
        config = module.config
        return diffusion_graphs(
            module,
            n_mels=config.n_mels,
            conditioner_channels=config.conditioner_channels,
            hop_length=config.hop_samples,
            samples=f"frames*{config.hop_samples}",
            conditioner_context_frames=CONDITIONER_REACH_FRAMES,
            step_context_frames=config.context_frames,
            # Mels of this convention lie in [0, 1].
            mel_mean=0.5,
            mel_std=0.2,
            step_keep_float={
                "fp16": ("network.embedding.*", "network.up.0", "network.down.0"),
                "int8": ("network.down.0", *_UNET_FAINT_NOISE),
            },
        )


DIFFWAVE = DiffWaveFamily()
DIFFWAVE_UNET = UNetFamily()
