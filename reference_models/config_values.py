"""Configuration files as published, read without trust: typed keys, bounded sizes, errors that name the key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from voirs_vocoder.reference_models.errors import ModelConfigError

__all__ = ["MAX_SAMPLING_RATE", "MAX_SIZE", "ConfigValues", "config_from_json", "require"]

Config = TypeVar("Config")

_MAX_CONFIG_BYTES = 1 << 20
# Far above any published model; a size beyond is a mistake that would exhaust memory.
MAX_SIZE = 1 << 12
MAX_SAMPLING_RATE = 768_000


def require(condition: bool, rule: str, value: object) -> None:
    """Refuse a value.

    Raises:
        ModelConfigError: The condition does not hold.
    """
    if not condition:
        raise ModelConfigError(f"{rule}, got {value!r}")


def config_from_json(path: Path, from_mapping: Callable[[Mapping[str, object]], Config]) -> Config:
    """Read a configuration file.

    Args:
        path: The file.
        from_mapping: Builds the configuration from the file's JSON object.

    Raises:
        ModelConfigError: It cannot be read, is not a JSON object, lacks a key, or does not make sense.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ModelConfigError(f"{path}: a configuration has at most {_MAX_CONFIG_BYTES} bytes")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelConfigError(f"{path}: the configuration must be JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelConfigError(
            f"{path}: the configuration must be a JSON object, got {type(values).__name__}"
        )
    try:
        return from_mapping(values)
    except ModelConfigError as error:
        raise ModelConfigError(f"{path}: {error}") from error


class ConfigValues:
    """The keys of a JSON object, each read as what it must be. Every method raises `ModelConfigError`."""

    def __init__(self, values: Mapping[str, object], model: str) -> None:
        """Wrap a mapping.

        Args:
            values: The object.
            model: What it should configure, for the error of a missing key.
        """
        self._values = values
        self._model = model

    def get(self, key: str, kinds: tuple[type, ...]) -> Any:
        """The value of a key, of one of these types."""
        if key not in self._values:
            raise ModelConfigError(f"key {key!r} is missing; is this the configuration of a {self._model}?")
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ModelConfigError(f"key {key!r} has the wrong type: {value!r}")
        return value

    def integer(self, key: str, largest: int = MAX_SIZE) -> int:
        """An integer of at most `largest`."""
        value = int(self.get(key, (int,)))
        require(value <= largest, f"{key} must be at most {largest}", value)
        return value

    def integers(self, key: str, largest: int, longest: int) -> tuple[int, ...]:
        """A list of them."""
        return tuple(
            ConfigValues({key: entry}, self._model).integer(key, largest) for entry in self.list(key, longest)
        )

    def frequency_hz(self, key: str) -> float:
        """A number that may be a frequency."""
        value = self.get(key, (int, float))
        require(0 <= value <= MAX_SAMPLING_RATE, f"{key} must be between 0 and {MAX_SAMPLING_RATE} Hz", value)
        return float(value)

    def optional_frequency_hz(self, key: str) -> float | None:
        """The same, or None where the key is missing or null."""
        return None if self._values.get(key) is None else self.frequency_hz(key)

    def numbers(self, key: str, longest: int) -> tuple[float, ...]:
        """A list of numbers."""
        entries = self.list(key, longest)
        return tuple(
            float(ConfigValues({key: entry}, self._model).get(key, (int, float))) for entry in entries
        )

    def list(self, key: str, longest: int) -> list[object]:
        """A list of at most `longest` entries."""
        entries = list(self.get(key, (list,)))
        require(len(entries) <= longest, f"{key} must have at most {longest} entries", len(entries))
        return entries

    def section(self, key: str) -> ConfigValues:
        """A nested object."""
        return ConfigValues(self.get(key, (dict,)), self._model)
