"""Settings of a training, validated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from voirs_vocoder.reference_models.config import require
from voirs_vocoder.reference_models.errors import ReferenceModelError

if TYPE_CHECKING:
    from voirs_vocoder.reference_models.training.task import Task

__all__ = ["PlayerSettings", "Preset", "Recipe", "TrainingSettings"]


@dataclass(frozen=True)
class PlayerSettings:
    """How one set of weights is optimized with AdamW.

    Attributes:
        learning_rate: Highest learning rate.
        final_learning_rate: Learning rate at the end of the training.
        clip_norm: Largest norm of the gradient over all weights; longer ones are scaled down to it.
    """

    learning_rate: float
    final_learning_rate: float
    clip_norm: float

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            0.0 <= self.final_learning_rate <= self.learning_rate and 0.0 < self.learning_rate < math.inf,
            "learning rates must be finite, the highest positive and the final one not above it",
            [self.learning_rate, self.final_learning_rate],
        )
        require(self.clip_norm > 0.0, "clip_norm must be positive", self.clip_norm)


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the shared training loop.

    Attributes:
        batch: Segments per step.
        segment_frames: Length of a segment, in mel frames.
        players: Settings of each set of weights by its name; the weights named `model` ship.
        decay: Shape of the learning rate's fall from the highest to the final one, over the time of the training.
        warm_up_steps: Steps in which the learning rate rises from 0, in a straight line.
        betas: Coefficients of AdamW's running averages of gradient and squared gradient.
        weight_decay: Weight decay of AdamW.
        ema_decay: Decay of the moving average of the weights, which ships.
        bf16: Whether networks run under bfloat16 autocast; losses are always computed in float32.
        low_gain: Smallest random gain that a segment is scaled by.
        high_gain: Largest random gain that a segment is scaled by; less where a sample would leave [-1, 1].
        held_back: Recordings, the last by name, that are evaluated and never trained on.
        seed: Step k's segments and noise depend on this and k alone.
    """

    batch: int
    segment_frames: int
    players: Mapping[str, PlayerSettings]
    decay: Literal["cosine", "linear"]
    warm_up_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    ema_decay: float = 0.999
    bf16: bool = True
    low_gain: float = 0.5
    high_gain: float = 1.1
    held_back: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("batch", "segment_frames", "held_back"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("warm_up_steps", "seed"):
            require(getattr(self, name) >= 0, f"{name} must not be negative", getattr(self, name))
        require("model" in self.players, "players must name 'model', whose weights ship", list(self.players))
        require(self.decay in ("cosine", "linear"), "decay must be 'cosine' or 'linear'", self.decay)
        require(0.0 <= self.ema_decay < 1.0, "ema_decay must lie in [0, 1)", self.ema_decay)
        require(
            0.0 < self.low_gain <= self.high_gain < math.inf,
            "gains must be positive and in order",
            [self.low_gain, self.high_gain],
        )

    def learning_rate_factor(self, player: str, step: int, share: float) -> float:
        """Factor of the highest learning rate of a set of weights.

        Args:
            player: Name of the set of weights.
            step: Steps done so far.
            share: Share of the training's time that has passed, in [0, 1].
        """
        warm = min(1.0, (step + 1) / self.warm_up_steps) if self.warm_up_steps else 1.0
        passed = min(1.0, max(0.0, share))
        left = 1.0 - passed if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * passed))
        own = self.players[player]
        final = own.final_learning_rate / own.learning_rate
        return warm * (final + (1.0 - final) * left)

    def record(self) -> dict[str, object]:
        """The settings as a JSON object, for the record beside the weights."""
        return {**asdict(self), "betas": list(self.betas)}


@dataclass(frozen=True)
class Preset:
    """A published size of a family, with settings for a large GPU.

    Attributes:
        config: Configuration of the published model, in the keys of the official file.
        settings: Settings of the shared loop.
        task: Makes the model from a configuration, and its losses; None takes the recipe's.
    """

    config: Mapping[str, object]
    settings: TrainingSettings
    task: Callable[[Mapping[str, object]], Task] | None = None


@dataclass(frozen=True)
class Recipe:
    """What a family brings to training.

    Attributes:
        family: Name of the family, whose loader reads the result.
        config_name: File name under which that loader looks for the configuration beside the weights.
        config: Configuration of the small model, in the keys of the official file.
        settings: Settings of the shared loop.
        task: Makes the model from a configuration, and its losses.
        half_weights: Whether the weights ship as float16, which official loaders accept.
        presets: Published sizes by their names, such as `v1`.
    """

    family: str
    config_name: Literal["config.json", "params.json"]
    config: Mapping[str, object]
    settings: TrainingSettings
    task: Callable[[Mapping[str, object]], Task]
    half_weights: bool = False
    presets: Mapping[str, Preset] = field(default_factory=dict)

    def with_preset(self, name: str) -> Recipe:
        """The recipe for a published size.

        Args:
            name: Name of the size among `presets`.

        Raises:
            ReferenceModelError: The family has no such size.
        """
        if name not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise ReferenceModelError(
                f"preset of {self.family} must be one of {known}, got {name!r}; choose one of them"
            )
        preset = self.presets[name]
        return replace(
            self,
            config=preset.config,
            settings=preset.settings,
            task=preset.task or self.task,
            half_weights=False,
            presets={},
        )
