"""The layouts of the families' own official code, which a family falls back on where nothing else is recognized."""

from __future__ import annotations

from dataclasses import dataclass

from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen

__all__ = ["OFFICIAL", "PICKLED_CLASSES", "OfficialLayout"]

PICKLED_CLASSES = frozenset({"glow.WaveGlow", "glow.WN", "glow.Invertible1x1Conv"})
"""Classes in published pickles of whole modules: github.com/NVIDIA/waveglow at 8afb643, glow.py."""


@dataclass(frozen=True)
class OfficialLayout:
    """A checkpoint and a JSON file whose keys are the family's own.

    Attributes:
        name: Name of the layout, for people.
        family: Name of the family.
        config_name: Official name of the configuration's file.
        weights_keys: Keys under which the weights lie, the first that is there.
        config_keys: Keys that the configuration must have; empty where the tensors' names suffice.
        tensors: Regular expression of a tensor's name that the model has.
    """

    name: str
    family: str
    config_name: str
    weights_keys: tuple[str, ...]
    config_keys: frozenset[str]
    tensors: str

    def recognizes(self, seen: Seen) -> bool:
        """Whether configuration and names are those of the official code."""
        return self.config_keys <= set(seen.config) and seen.has(self.tensors)

    def read(self, seen: Seen) -> ReadModel:
        """Take the configuration and the names as they are."""
        config = seen.package.config()
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=config,
            published=config,
            config_name=seen.package.config_name,
            checkpoint=seen.opened.weights(self.weights_keys),
        )


OFFICIAL = (
    # github.com/jik876/hifi-gan at 4769534, and its many forks.
    OfficialLayout(
        name="HiFi-GAN by jik876",
        family="hifigan",
        config_name="config.json",
        weights_keys=("generator",),
        config_keys=frozenset({"resblock", "upsample_rates", "num_mels", "win_size"}),
        tensors=r"ups\.0\.bias",
    ),
    # github.com/NVIDIA/waveglow at 8afb643.
    OfficialLayout(
        name="WaveGlow by NVIDIA",
        family="waveglow",
        config_name="config.json",
        weights_keys=("model", "state_dict"),
        config_keys=frozenset(),
        tensors=r"WN\.0\.start\.bias",
    ),
    # github.com/lmnt-com/diffwave at 0594106.
    OfficialLayout(
        name="DiffWave by LMNT",
        family="diffwave",
        config_name="params.json",
        weights_keys=("model",),
        config_keys=frozenset(),
        tensors=r"residual_layers\.0\.dilated_conv\.bias",
    ),
    OfficialLayout(
        name="DiffWave U-Net of this project",
        family="diffwave-unet",
        config_name="config.json",
        weights_keys=("model",),
        config_keys=frozenset({"attention_reach_frames", "group_channels"}),
        tensors=r".*\.bias",
    ),
    OfficialLayout(
        name="Vocos of this project",
        family="vocos",
        config_name="config.json",
        weights_keys=("model",),
        config_keys=frozenset({"intermediate_dim", "num_layers", "padding"}),
        tensors=r"backbone\.convnext\.0\.dwconv\.weight",
    ),
)
"""One row per family of this package."""
