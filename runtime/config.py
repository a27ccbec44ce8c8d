"""What a caller may decide: how a session runs, and how an utterance is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from voirs_vocoder.runtime.errors import InputError

__all__ = ["OPTIONAL_SETTINGS", "Batching", "SessionConfig", "VocodingConfig"]

Batching = Literal["auto", "together", "alone"]
"""See `SessionConfig`."""

OPTIONAL_SETTINGS = (
    "seed",
    "sigma",
    "denoise",
    "sampler",
    "schedule",
    "betas",
    "steps",
    "eta",
    "temperature",
    "guidance",
)
"""Fields of `VocodingConfig` that only some drivers know; to the others they must be None."""

_MAX_SEED = (1 << 64) - 1
_MAX_SIGMA = 10.0
_MAX_DENOISE = 10.0
_MAX_GUIDANCE = 10.0
_PROSODY_RANGES = {"speed": (0.5, 2.0), "pitch_semitones": (-12.0, 12.0), "energy_db": (-60.0, 24.0)}


@dataclass(frozen=True)
class SessionConfig:
    """How a backend runs a graph.

    Attributes:
        threads: Worker threads; None leaves the number to the backend, which takes one per core.
        spinning: Whether ONNX Runtime's idle threads spin for a moment. Faster alone on a machine; turn it off on
            a shared host.
        activation_budget_bytes: Long input is cut into windows so that a graph's intermediate results need about
            this much memory.
        device: Index of the GPU; ignored on CPU.
        batching: How `vocode_batch` runs: utterances `together` in the artifact's batch graph, or `alone`, one after
            the other. `auto` takes what is faster: on a CPU, where a run of eight utterances takes as long as eight
            runs, `alone`; on a GPU `together` where the artifact has the graph. The audio is the same.
    """

    threads: int | None = None
    spinning: bool = True
    activation_budget_bytes: int = 48 << 20
    device: int = 0
    batching: Batching = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InputError(f"threads must be between 1 and 1024, got {self.threads}")
        if self.activation_budget_bytes < 1 << 20:
            raise InputError(
                f"activation_budget_bytes must be at least 1 MiB, got {self.activation_budget_bytes}"
            )
        if self.batching not in get_args(Batching):
            raise InputError(
                f"batching must be one of {', '.join(get_args(Batching))}, got {self.batching!r}"
            )
        if self.device < 0:
            raise InputError(f"device must not be negative, got {self.device}")


@dataclass(frozen=True)
class VocodingConfig:
    """How one utterance is made.

    Attributes:
        window_frames: Most mel frames that go through the graph at once, context included. None derives it from
            the session's memory budget. The audio does not depend on it.
        seed: Of the noise, in [0, 2^64); None is 0. The same seed gives the same audio.
        sigma: Standard deviation of a flow's noise, in [0, 10]; None takes 0.6.
        denoise: How strongly a flow's own bias spectrum is taken off its audio, in [0, 10]; None or 0 takes nothing.
        sampler: Of a diffusion model: `fast`, `ddpm`, `ddim`, `dpm-solver++` or `adaptive`; None takes the artifact's
            default.
        schedule: Where its steps lie: a key of `voirs_vocoder.runtime.diffusion.SCHEDULES`; None is `log-snr`.
        betas: A schedule of one's own instead: variances whose products stay within the checkpoint's; None for none.
        steps: How many, for `adaptive` at most; None takes the artifact's default. `fast` knows its own.
        eta: Of `ddim`: 0, which None stands for, adds no noise, 1 as much as `ddpm`.
        temperature: Scales all noise of a diffusion model; None is 1.
        guidance: How far the prediction is driven from that without a mel; None is 1, the prediction itself.
            For models that were trained with dropped conditioning.
        speed: Of speaking, in [0.5, 2]; 2 halves the length.
        pitch_semitones: In [-12, 12]; the formants move along.
        energy_db: Gain on the audio, in [-60, 24].
    """

    window_frames: int | None = None
    seed: int | None = None
    sigma: float | None = None
    denoise: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    betas: tuple[float, ...] | None = None
    steps: int | None = None
    eta: float | None = None
    temperature: float | None = None
    guidance: float | None = None
    speed: float = 1.0
    pitch_semitones: float = 0.0
    energy_db: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.window_frames is not None and self.window_frames < 1:
            raise InputError(f"window_frames must be at least 1, got {self.window_frames}")
        if self.seed is not None and not 0 <= self.seed <= _MAX_SEED:
            raise InputError(f"seed must be in [0, 2^64), got {self.seed}")
        if self.sigma is not None and not 0.0 <= self.sigma <= _MAX_SIGMA:
            raise InputError(f"sigma must be in [0, {_MAX_SIGMA:g}], got {self.sigma}")
        if self.denoise is not None and not 0.0 <= self.denoise <= _MAX_DENOISE:
            raise InputError(f"denoise must be in [0, {_MAX_DENOISE:g}], got {self.denoise}")
        if self.guidance is not None and not 0.0 <= self.guidance <= _MAX_GUIDANCE:
            raise InputError(f"guidance must be in [0, {_MAX_GUIDANCE:g}], got {self.guidance}")
        for name, (low, high) in _PROSODY_RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)}")

    @property
    def without_prosody(self) -> VocodingConfig:
        """The same, spoken as the mel says."""
        return replace(self, speed=1.0, pitch_semitones=0.0, energy_db=0.0)
