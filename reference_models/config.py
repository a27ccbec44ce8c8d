"""Model configurations as published, read without trust: typed keys with bounds, and errors that name the place.

A family declares its configuration as a subclass of `ModelConfig`, whose fields are the keys of the official file.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Self

import msgspec
from msgspec import Meta

from voirs_vocoder.reference_models.errors import ModelConfigError
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, MelConvention, identified

__all__ = [
    "Betas",
    "ConfigSection",
    "Count",
    "FrequencyHz",
    "ModelConfig",
    "SampleCount",
    "SamplingRateHz",
    "derived_convention",
    "normalized_range",
    "require",
    "require_mel",
    "trainer_convention",
]

_MAX_RATE_HZ = 768_000
_DECIMALS = 12

# The upper bounds lie far above any published model; a size beyond them is a mistake that would exhaust memory.
Count = Annotated[int, Meta(ge=1, le=1 << 12)]
"""Number of channels, bands, steps and the like."""

SampleCount = Annotated[int, Meta(ge=1, le=1 << 16)]
"""Length in audio samples."""

SamplingRateHz = Annotated[int, Meta(ge=1, le=_MAX_RATE_HZ)]
"""Sampling rate in Hz."""

FrequencyHz = Annotated[float, Meta(ge=0, le=_MAX_RATE_HZ)]
"""Frequency in Hz."""

Betas = Annotated[
    tuple[Annotated[float, Meta(gt=0, lt=1)], ...],
    Meta(min_length=1, max_length=1000),
]
"""Variances of a noise schedule, one per step."""

_SOURCE = "$source"
_MAX_LISTED = 6

_BOUND = re.compile(r"Expected `\w+` (of length )?(>=|<=|>|<) (\S+)")
_BOUND_WORDS = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}
_TYPE = re.compile(r"Expected `(.+?)`, got `.+`")
_TYPE_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_MISSING = re.compile(r"Object missing required field `(.+)`")
_PLACE = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the configurations of all families.

    A key that a subclass neither declares nor names in `ignored` is refused, since it may change what is computed. A
    subclass checks rules between keys in `__post_init__`, with `require`.

    Attributes:
        title: Name of the model in errors.
        ignored: Keys of official files that only training needs, as shell-style patterns.
        source: Mapping that the configuration was read from, with all its keys.
    """

    title: ClassVar[str]
    ignored: ClassVar[tuple[str, ...]] = ()
    source: dict[str, object] = msgspec.field(default_factory=dict, name=_SOURCE)

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, object], *, published: Mapping[str, object] | None = None
    ) -> Self:
        """Build a configuration from the keys of an official file.

        Args:
            values: Keys and values as `json.loads` returns them.
            published: Keys and values of the file that `values` were made from, which `source` keeps; None keeps
                `values`.

        Raises:
            ModelConfigError: A key is missing, unknown, has the wrong type or lies outside of its bounds, or the values
                do not fit each other. The message names the place, such as `$.resblock_kernel_sizes[1]`.
        """
        source = dict(values if published is None else published)
        try:
            config = msgspec.convert({**values, _SOURCE: source}, cls)
        except msgspec.ValidationError as error:
            raise ModelConfigError(_explained(str(error), values, cls.title)) from error
        if unknown := list(_unknown(cls, values)):
            names = ", ".join(reprlib.repr(key) for key in unknown[:_MAX_LISTED])
            raise ModelConfigError(
                f"keys that are not known of a {cls.title} may change what is computed, got {names}; remove them if "
                "they concern training alone"
            )
        return config


class ConfigSection(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the sections of a configuration; its keys follow the rule of `ModelConfig`.

    Attributes:
        ignored: Keys of official files that only training needs, as shell-style patterns.
    """

    ignored: ClassVar[tuple[str, ...]] = ()


def require(condition: bool, rule: str, value: object) -> None:
    """Refuse a value unless a condition holds.

    Args:
        condition: Whether the value is acceptable.
        rule: Rule that the value must follow, for the error.
        value: Value received, for the error.

    Raises:
        ModelConfigError: The condition does not hold.
    """
    if not condition:
        raise ModelConfigError(f"{rule}, got {value!r}")


def require_mel(config: ModelConfig, n_mels: str, hop_length: str, sample_rate: str) -> None:
    """Refuse a mel convention that a configuration contradicts.

    Args:
        config: Configuration whose attribute `mel` is a convention, or None where it follows from the other keys.
        n_mels: Name of the key that holds the number of mel bands.
        hop_length: Name of the key that holds the audio samples between mel frames.
        sample_rate: Name of the key that holds the sampling rate in Hz.

    Raises:
        ModelConfigError: The convention has other numbers than the keys.
    """
    mel: MelConvention | None = getattr(config, "mel", None)
    if mel is None:
        return
    own = [getattr(config, key) for key in (n_mels, hop_length, sample_rate)]
    require(
        [mel.n_mels, mel.hop_length, mel.sample_rate] == own,
        f"the mel convention must have {n_mels}, {hop_length} and {sample_rate} {own}",
        mel.id,
    )


def derived_convention(published: str, custom_id: str, **parameters: float) -> MelConvention:
    """A published mel convention, or one that differs from it in some parameters.

    Args:
        published: Name of the published convention, which decides everything that is no parameter.
        custom_id: Name of the convention where a parameter differs from the published one.
        **parameters: Fields of `MelConvention`.

    Raises:
        ModelConfigError: The parameters do not make a mel convention.
    """
    base = CONVENTIONS[published]
    changes: dict[str, Any] = parameters
    try:
        convention = msgspec.structs.replace(base, **changes)
        return base if convention == base else msgspec.structs.replace(convention, id=custom_id)
    except ValueError as error:
        raise ModelConfigError(str(error)) from error


def trainer_convention(base: str, prefix: str, **parameters: Any) -> MelConvention:
    """The mel convention of a trainer's configuration: a published one with other parameters, under an id of its own.

    Args:
        base: Name of the published convention, which decides everything that is no parameter.
        prefix: Beginning of the id where no published convention has these parameters, such as `vocos`.
        **parameters: Fields of `MelConvention` but the id.

    Raises:
        ModelConfigError: The parameters do not make a mel convention.
    """
    try:
        return identified(msgspec.structs.replace(CONVENTIONS[base], **parameters), prefix)
    except ValueError as error:
        raise ModelConfigError(str(error)) from error


def normalized_range(
    *, gain: float, ref_level_db: float, min_level_db: float, max_norm: float, symmetric: bool, clip: bool
) -> dict[str, Any]:
    """The range of Coqui's audio configuration as fields of `MelConvention`: scale, offset, limits.

    Source: `normalize` of coqui-tts 0.28.0, TTS/utils/audio: S = gain * log(m) - ref_level_db becomes
    max_norm * (S - min_level_db) / -min_level_db, in [0, max_norm]; symmetric: twice as much less max_norm.

    Args:
        gain: Number that the logarithm is multiplied by, `spec_gain`.
        ref_level_db: Number that is subtracted after that.
        min_level_db: Number that becomes the lower end, below 0.
        max_norm: Upper end.
        symmetric: Whether the lower end is -max_norm instead of 0.
        clip: Whether values are limited to the two ends, `clip_norm`.

    Raises:
        ModelConfigError: `min_level_db` is not below 0, or `max_norm` not above 0.
    """
    require(
        min_level_db < 0 < max_norm,
        "min_level_db must be below 0 and max_norm above",
        (min_level_db, max_norm),
    )
    width = 2.0 * max_norm if symmetric else max_norm
    low = -max_norm if symmetric else 0.0
    # Rounded, so that decimal numbers give the decimal numbers of a published convention.
    return {
        "scale": round(gain * width / -min_level_db, _DECIMALS),
        "offset": round(width * (1.0 + ref_level_db / min_level_db) + low, _DECIMALS),
        "limits": (low, max_norm) if clip else None,
    }


def _unknown(kind: type[ModelConfig | ConfigSection], values: Mapping[str, object]) -> Iterator[str]:
    """Places of the keys that a type neither declares nor ignores."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, each in values.items():
        if key not in fields:
            if not any(fnmatchcase(key, pattern) for pattern in kind.ignored):
                yield key
        elif isinstance(section := fields[key], type) and issubclass(section, ConfigSection):
            inner: Any = each
            yield from (f"{key}.{place}" for place in _unknown(section, inner))


def _explained(text: str, values: Mapping[str, object], model: str) -> str:
    """A message of msgspec as rule, value received and remedy.

    Args:
        text: Message, such as "Expected `int` >= 1 - at `$.n_flows`".
        values: Mapping that was converted.
        model: Name of the model.
    """
    problem, _, place = text.partition(" - at `")
    place = place.rstrip("`") or "$"
    value: Any = values
    for key, index in _PLACE.findall(place):
        value = value[key] if key else value[int(index)]
    if found := _MISSING.fullmatch(problem):
        near = difflib.get_close_matches(found[1], map(str, value), n=1, cutoff=0.75)
        where = "" if place == "$" else f" in {place}"
        similar = f", the nearest key is {near[0]!r}" if near else ""
        return f"key {found[1]!r} is missing{where}{similar}; is this the configuration of a {model}?"
    if found := _BOUND.fullmatch(problem):
        of_length, sign, limit = found.groups()
        rule = f"{_BOUND_WORDS[sign]} {limit.removesuffix('.0')}"
        if of_length:
            return f"{place} must have a length of {rule}, got {len(value)}"
        return f"{place} must be {rule}, got {reprlib.repr(value)}"
    if found := _TYPE.fullmatch(problem):
        kinds = " or ".join(_TYPE_WORDS.get(kind, kind) for kind in found[1].split(" | "))
        return f"{place} must be {kinds}, got {reprlib.repr(value)}"
    return f"{place}: {problem}, got {reprlib.repr(value)}"
