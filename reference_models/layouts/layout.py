"""The contract of a layout: how one trainer writes a model, and how that becomes a family's model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from voirs_vocoder.reference_models.checkpoints.pickled_module import ModuleShell
from voirs_vocoder.reference_models.checkpoints.reading import (
    Checkpoint,
    OpenedCheckpoint,
    fitted_model,
)
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.config import ModelConfig
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError, ReferenceModelError
from voirs_vocoder.reference_models.family import Family, VocoderModule, require_normalizing
from voirs_vocoder.reference_models.layouts.package import Package

__all__ = ["Layout", "LayoutFamily", "ReadModel", "Seen", "model_read", "parsed", "renamed", "section"]

Config = TypeVar("Config", bound=ModelConfig)
Model = TypeVar("Model", bound=VocoderModule)

_MAX_LEVELS = 4
_COMPILED = "_orig_mod."


@dataclass(frozen=True)
class Seen:
    """What lies at the place that a user named, before it is known what it is.

    Attributes:
        package: Files of the model.
        opened: Content of the weights' file.
        normalize: Whether a network that its trainer feeds with normalized mels normalizes them itself; False takes the
            mels as they are, and needs no statistics.
    """

    package: Package
    opened: OpenedCheckpoint
    normalize: bool = True

    @cached_property
    def config(self) -> Mapping[str, object]:
        """Keys and values of the configuration's file; empty where there is none that can be read."""
        return {} if self.package.config_problem is not None else self.package.config()

    @cached_property
    def embedded(self) -> Mapping[str, object]:
        """Keys and values of the configuration within the weights' file; empty where there is none."""
        found = self.opened.content.get("config") if isinstance(self.opened.content, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all tensors in the file, each behind the keys of the dictionaries that it lies in, with points."""
        try:
            return frozenset(_names(self.opened.content))
        except CheckpointError as error:
            raise CheckpointError(f"{self.opened.path}: {error}") from error

    @cached_property
    def text(self) -> str:
        """All of `names` in one text, one name a line, each behind a point."""
        return "".join(f".{name}\n" for name in sorted(self.names))

    def has(self, pattern: str) -> bool:
        """Whether the last parts of a tensor's name match a regular expression."""
        return re.search(rf"\.(?:{pattern})\n", self.text) is not None

    def weights(self, *keys: str) -> Checkpoint:
        """The weights of the model, without a remark about those that the layout is known to hold besides.

        Args:
            *keys: Keys, or beginnings of names, under which the layout keeps the weights.

        Raises:
            CheckpointError: The file holds no weights, or several models' weights.
        """
        return dataclasses.replace(self.opened.weights(keys), choice=None)


@dataclass(frozen=True)
class ReadModel:
    """A model in the terms of a family.

    Attributes:
        layout: Name of the layout that was recognized, for people.
        family: Name of the family.
        config: Configuration in the family's own keys.
        published: Configuration as the trainer wrote it, which the manifest keeps.
        config_name: Name of the configuration's file, for errors.
        checkpoint: Weights under the family's own names.
        normalize: Whether statistics that the trainer normalizes mels by were to be taken into the network.
    """

    layout: str
    family: str
    config: Mapping[str, object]
    published: Mapping[str, object]
    config_name: str
    checkpoint: Checkpoint
    normalize: bool = True

    def family_config(self, kind: type[Config]) -> Config:
        """The configuration of the family.

        Args:
            kind: Type of the family's configuration.

        Raises:
            ModelConfigError: The values do not describe a model of the family.
        """
        try:
            return kind.from_mapping(self.config, published=self.published)
        except ModelConfigError as error:
            raise ModelConfigError(f"{self.config_name}: {error}") from error

    def module(self, make: Callable[[], Model]) -> Model:
        """The model with the weights, in evaluation mode, free of weight norm.

        Args:
            make: Makes the model that the configuration describes.

        Raises:
            CheckpointError: Weights are missing, unexpected or of another shape.
        """
        model = fitted_model(make, self.checkpoint)
        fold_weight_norm(model)
        model.checkpoint_sha256 = self.checkpoint.sha256
        model.layout = self.layout
        model.normalizes = self.normalize
        return model.eval().requires_grad_(False)


@runtime_checkable
class LayoutFamily(Family, Protocol):
    """A family whose checkpoints are read by a layout."""

    def model_of(self, read: ReadModel) -> VocoderModule:
        """Make the model that a layout read.

        Args:
            read: Model in the terms of the family.

        Raises:
            CheckpointError: The weights do not fit the configuration.
            ModelConfigError: The configuration describes no model of the family.
        """
        ...


def model_read(family: Family, read: ReadModel) -> VocoderModule:
    """Make the model that a layout read.

    Args:
        family: Family that the layout names.
        read: Model in the terms of the family.

    Raises:
        CheckpointError: The weights do not fit the configuration.
        ModelConfigError: The configuration describes no model of the family.
        ReferenceModelError: Mels are to be taken as they are, and no trainer of the family normalizes them; or the
            family reads no layouts.
    """
    if not read.normalize:
        require_normalizing(family)
    if not isinstance(family, LayoutFamily):
        raise ReferenceModelError(f"the family {read.family} reads no layouts; name it in place of auto")
    return family.model_of(read)


class Layout(Protocol):
    """How one trainer writes a model."""

    @property
    def name(self) -> str:
        """Name for people, such as `SpeechT5HifiGan of transformers`."""
        ...

    @property
    def family(self) -> str:
        """Name of the family that the model belongs to; empty where it is refused."""
        ...

    def recognizes(self, seen: Seen) -> bool:
        """Whether the files are of this layout. What several layouts share must not suffice."""
        ...

    def read(self, seen: Seen) -> ReadModel:
        """Read a model that was recognized.

        Raises:
            CheckpointError: The weights cannot be used.
            ModelConfigError: The configuration is malformed, or has a value that the family cannot honor.
        """
        ...


def parsed(kind: type[Config], values: Mapping[str, object], seen: Seen, place: str = "") -> Config:
    """Typed keys of a trainer's configuration.

    Args:
        kind: Type whose fields are the keys.
        values: The configuration, or a section of it.
        seen: Files that the configuration is one of.
        place: Place of the section in the file, for errors; empty for the whole file.

    Raises:
        ModelConfigError: A key is missing, unknown, has the wrong type or lies outside of its bounds.
    """
    try:
        return kind.from_mapping(values)
    except ModelConfigError as error:
        within = f" {place}:" if place else ""
        raise ModelConfigError(f"{seen.package.config_name}:{within} {error}") from error


def section(values: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
    """A section of a configuration.

    Args:
        values: The configuration.
        key: Key of the section.
        where: Name of the file, for errors.

    Raises:
        ModelConfigError: The section is missing, or is no mapping.
    """
    found = values.get(key)
    if not isinstance(found, Mapping):
        got = "nothing" if key not in values else type(found).__name__
        raise ModelConfigError(f"{where}: key {key!r} must hold a section of keys, got {got}; check the file")
    return found


def renamed(checkpoint: Checkpoint, rename: Callable[[str], str | None]) -> Checkpoint:
    """A checkpoint with other names.

    Args:
        checkpoint: Weights under the names of a trainer.
        rename: Gives the family's name for a trainer's; None leaves the tensor out.

    Raises:
        CheckpointError: Two tensors would have the same name.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        new = rename(name)
        if new is None:
            continue
        if new in tensors:
            raise CheckpointError(
                f"{checkpoint.path}: two tensors would both be {new!r}, one of them {name!r}"
            )
        tensors[new] = tensor
    return checkpoint.with_tensors(tensors)


def _names(content: object, prefix: str = "", level: int = 0) -> Iterator[str]:
    if isinstance(content, ModuleShell):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        return
    for key, each in content.items():
        if isinstance(each, Tensor):
            yield f"{prefix}{key}".replace(_COMPILED, "")
        elif level < _MAX_LEVELS:
            yield from _names(each, f"{prefix}{key}.", level + 1)
