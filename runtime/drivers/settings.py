"""Settings of one utterance, each declared once, by the driver that reads it.

A setting is a field of one of the classes below. From its declaration come its check, its place in `VocodingConfig` and
the documentation there, and its option on the command line. Nothing here loads a driver.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from voirs_vocoder.runtime.diffusion.samplers import SAMPLER_CHOICES
from voirs_vocoder.runtime.diffusion.schedule import DEFAULT_SCHEDULE, MAX_STEPS, SCHEDULES
from voirs_vocoder.runtime.errors import InputError

__all__ = [
    "DEFAULT_SIGMA",
    "DeclaredSetting",
    "DiffusionSettings",
    "DriverSettings",
    "FlowSettings",
    "NoiseSettings",
    "Setting",
    "UtteranceSettings",
    "declared_settings",
    "setting",
    "setting_names",
]

DEFAULT_SIGMA = 0.6
"""Standard deviation that the official README of WaveGlow infers with (github.com/NVIDIA/waveglow at 8afb643)."""

_MAX_SEED = (1 << 64) - 1
_KEY = "setting"
_ARTIFACT_DEFAULT = "the artifact's default"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Declaration of a setting.

    Attributes:
        help: Description of the setting, as a phrase without a full stop; range and choices are appended to it.
        remark: Further sentences of the help text; empty for none.
        low: Smallest number allowed; None for no lower bound.
        high: Largest number allowed; None for no upper bound.
        choices: Names allowed; empty where the setting is no name.
        unset: Meaning of None, as a phrase; None where the field's default is a value.
    """

    help: str
    remark: str = ""
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    unset: str | None = None

    @property
    def bounds(self) -> str:
        """The allowed range as a phrase such as `in [0, 10]`; empty where there is none."""
        if self.low is None:
            return "" if self.high is None else f"at most {_number_text(self.high)}"
        if self.high is None:
            return f"at least {_number_text(self.low)}"
        return f"in [{_number_text(self.low)}, {_number_text(self.high)}]"

    @property
    def text(self) -> str:
        """The help text in whole sentences, with range and choices."""
        known = f": {', '.join(self.choices)}" if self.choices else ""
        bounds = f", {self.bounds}" if self.bounds else ""
        return f"{self.help}{known}{bounds}.{' ' if self.remark else ''}{self.remark}"


def setting(
    *,
    help: str,  # noqa: A002
    remark: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    unset: str | None = None,
) -> Mapping[str, Setting]:
    """The metadata of a dataclass field that declares a setting. The arguments are the attributes of `Setting`."""
    return {_KEY: Setting(help=help, remark=remark, low=low, high=high, choices=choices, unset=unset)}


@dataclass(frozen=True)
class DeclaredSetting:
    """A setting as declared by a field.

    Attributes:
        name: Name of the field, and of the option with dashes.
        kind: Type of a value that is not None: int, float, str or tuple (of floats).
        default: Value of the field where the caller leaves it out; None leaves the choice to the driver.
        setting: The declaration.
        owner: Class that declares the field.
    """

    name: str
    kind: type
    default: object
    setting: Setting
    owner: type[Any]

    def check(self, value: object) -> None:
        """Check a value.

        Raises:
            InputError: The value has another type, is out of range, or is not among the choices.
        """
        setting = self.setting
        if value is None and self.default is None:
            return
        if setting.choices:
            if value not in setting.choices:
                raise InputError(f"unknown {self.name} {value!r}; known: {', '.join(setting.choices)}")
        elif self.kind is tuple:
            self._require(isinstance(value, Sequence) and all(map(_is_number, value)), "numbers", value)
        else:
            whole = self.kind is int
            self._require(
                _is_number(value) and (not whole or isinstance(value, numbers.Integral)),
                "an integer" if whole else "a number",
                value,
            )
            # Compared this way round, NaN is out of every range.
            inside = (setting.low is None or value >= setting.low) and (  # type: ignore[operator]
                setting.high is None or value <= setting.high  # type: ignore[operator]
            )
            self._require(inside, setting.bounds, value)

    def _require(self, holds: bool, rule: str, value: object) -> None:
        if not holds:
            left_out = self.setting.unset if self.default is None else f"{self.default:g}"
            raise InputError(f"{self.name} must be {rule}, got {value}; leave it out for {left_out}")


@dataclass(frozen=True)
class UtteranceSettings:
    """Settings of the runtime that every driver honors."""

    group: ClassVar[str] = "Memory"

    window_frames: int | None = field(
        default=None,
        metadata=setting(
            help="Most mel frames that pass through the graph at once, context included",
            remark="The audio does not depend on it.",
            low=1,
            unset="as many as the session's memory budget allows",
        ),
    )


class DriverSettings:
    """Base of the settings that only some drivers read. Each must be None where the driver does not read it."""


@dataclass(frozen=True)
class NoiseSettings(DriverSettings):
    """Settings of every driver that draws noise."""

    group: ClassVar[str] = "Noise"

    seed: int | None = field(
        default=None,
        metadata=setting(
            help="Seed of the noise, for models that take noise",
            remark="The same seed gives the same audio.",
            low=0,
            high=_MAX_SEED,
            unset="0",
        ),
    )


@dataclass(frozen=True)
class FlowSettings(NoiseSettings):
    """Settings of the driver `flow`."""

    group: ClassVar[str] = "Flow models"

    sigma: float | None = field(
        default=None,
        metadata=setting(
            help="Standard deviation of a flow's noise", low=0.0, high=10.0, unset=f"{DEFAULT_SIGMA:g}"
        ),
    )
    denoise: float | None = field(
        default=None,
        metadata=setting(
            help="Factor by which a flow's own bias spectrum is subtracted from its audio",
            remark="The official WaveGlow code uses 0.1.",
            low=0.0,
            high=10.0,
            unset="0, which subtracts nothing",
        ),
    )


@dataclass(frozen=True)
class DiffusionSettings(NoiseSettings):
    """Settings of the driver `diffusion`."""

    group: ClassVar[str] = "Diffusion models"

    sampler: str | None = field(
        default=None,
        metadata=setting(
            help="Sampler of a diffusion model", choices=SAMPLER_CHOICES, unset=_ARTIFACT_DEFAULT
        ),
    )
    schedule: str | None = field(
        default=None,
        metadata=setting(
            help="Noise schedule of the sampling steps", choices=tuple(SCHEDULES), unset=DEFAULT_SCHEDULE
        ),
    )
    betas: tuple[float, ...] | None = field(
        default=None,
        metadata=setting(
            help="Variances of a custom noise schedule in the order of the forward process, in place of a named one",
            remark="Their noise levels must lie within those of the checkpoint's training.",
            unset="a named schedule",
        ),
    )
    steps: int | None = field(
        default=None,
        metadata=setting(
            help="Number of sampling steps",
            remark="At most those of the checkpoint's training. The sampler adaptive may stop earlier; the sampler "
            "fast has a fixed number.",
            low=1,
            high=MAX_STEPS,
            unset=_ARTIFACT_DEFAULT,
        ),
    )
    eta: float | None = field(
        default=None,
        metadata=setting(
            help="Share of fresh noise at each step of the sampler ddim",
            remark="0 adds none, 1 as much as ddpm.",
            low=0.0,
            high=1.0,
            unset="0",
        ),
    )
    temperature: float | None = field(
        default=None,
        metadata=setting(help="Factor on all noise of a diffusion model", low=0.0, high=2.0, unset="1"),
    )
    guidance: float | None = field(
        default=None,
        metadata=setting(
            help="Weight of the mel-conditioned prediction against the unconditional one",
            remark="1 is the plain prediction. For models that were also trained without a mel.",
            low=0.0,
            high=10.0,
            unset="1",
        ),
    )


def declared_settings(declaring: type[Any]) -> tuple[DeclaredSetting, ...]:
    """Settings that a dataclass declares or inherits, in the order of its fields."""
    hints = get_type_hints(declaring)
    return tuple(
        DeclaredSetting(
            each.name,
            _kind(hints[each.name]),
            each.default,
            each.metadata[_KEY],
            _owner(declaring, each.name),
        )
        for each in dataclasses.fields(declaring)
        if _KEY in each.metadata
    )


def setting_names(declaring: type[Any]) -> frozenset[str]:
    """Names of the settings that a dataclass declares or inherits."""
    return frozenset(declared.name for declared in declared_settings(declaring))


def _owner(declaring: type[Any], name: str) -> type[Any]:
    return next(base for base in declaring.__mro__ if name in vars(base).get("__annotations__", {}))


def _kind(hint: object) -> type[Any]:
    """The type of a value that is not None: the first of `int | None`."""
    value_type = next(iter(get_args(hint)), hint)
    kind = get_origin(value_type) or value_type
    if not isinstance(kind, type):
        raise TypeError(f"a setting must be an int, float, str or tuple, or None, got {hint}")
    return kind


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _number_text(bound: float) -> str:
    return "2^64 - 1" if bound == _MAX_SEED else f"{bound:g}"
