"""Checkpoints in, without executing anything in them; safetensors out.

The format is recognized by content, never by the file's name: safetensors, torch's zip archives, and the older
pickle stream. Pickles go through `pickled_module`, which takes the tensors out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from voirs_vocoder.reference_models.checkpoints.inert_pickle import shown
from voirs_vocoder.reference_models.checkpoints.pickled_module import unpickle_modules
from voirs_vocoder.reference_models.checkpoints.state_dict import (
    find_state_dict,
    left_out,
    listed,
    plain_names,
    weights_of,
)
from voirs_vocoder.reference_models.checkpoints.weight_norm import (
    fold_weight_norm,
    folded_state_dict,
    official_names,
)
from voirs_vocoder.reference_models.errors import CheckpointError, CheckpointWarning
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded

__all__ = [
    "Checkpoint",
    "OpenedCheckpoint",
    "fitted_model",
    "load_into",
    "opened_checkpoint",
    "read_checkpoint",
    "read_checkpoint_bytes",
    "save_safetensors",
]

Model = TypeVar("Model", bound=nn.Module)

_MAX_CHECKPOINT_BYTES = 4 << 30
# Parsed, the description of the tensors takes some fifteen times its size; published files have at most 1 MiB of it.
_MAX_HEADER_BYTES = 8 << 20
# Weights hardly compress: float32 that was float16 takes half.
_MAX_INFLATION = 4


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's weights.

    Attributes:
        path: File that the weights were read from.
        tensors: Weights by parameter name, float32, finite.
        sha256: SHA-256 of the file's bytes, in lower-case hex.
        format: `safetensors`, `torch-zip` or `torch-pickle`.
        choice: Which of the file's weights were taken; None where there was no choice.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    sha256: str
    format: str
    choice: str | None = None

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        """A copy of the checkpoint with other tensors, such as renamed ones."""
        return dataclasses.replace(self, tensors=tensors)


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint that was read, before it is decided which of its tensors are the model.

    Attributes:
        path: File that the content was read from.
        content: What the file holds: dictionaries, lists, numbers, tensors and `ModuleShell`s.
        content_bytes: Size of the content without compression, in bytes.
        sha256: SHA-256 of the file's bytes, in lower-case hex.
        format: `safetensors`, `torch-zip` or `torch-pickle`.
    """

    path: Path
    content: object
    content_bytes: int
    sha256: str
    format: str

    def weights(self, weights_keys: tuple[str, ...] = ()) -> Checkpoint:
        """Take the weights of the model out of the content.

        Args:
            weights_keys: Keys under which the family's official pickles hold the weights, the first that is there; a
                file without them is itself the state dict.

        Returns:
            The weights by the names of the family; a `module.` before every name, left by parallel training, and every
            `_orig_mod.`, left by compilation, is dropped.

        Raises:
            CheckpointError: The content holds no weights, or several models' weights.
        """
        try:
            state, choice = find_state_dict(self.content, weights_keys)
            named, selection = plain_names(state, weights_keys)
            tensors = weights_of(named, self.content_bytes)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {error}{_generator_beside(self.path)}") from error
        remarks = "; ".join(filter(None, (choice, selection)))
        return Checkpoint(self.path, tensors, self.sha256, self.format, remarks or None)


def opened_checkpoint(
    path: Path, data: bytes, sha256: str, *, module_classes: frozenset[str] | None = None
) -> OpenedCheckpoint:
    """Read a checkpoint's bytes, such as those of a member of an archive.

    Args:
        path: File that the bytes came from.
        data: Content of the checkpoint.
        sha256: SHA-256 of the file, in lower-case hex.
        module_classes: Full names of the classes that published pickles of whole modules hold; None refuses pickled
            modules.

    Raises:
        CheckpointError: The bytes would execute code, or are broken.
    """
    try:
        form = _recognized_format(data)
        content, content_bytes = _loaded(data, form, module_classes)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}{_generator_beside(path)}") from error
    return OpenedCheckpoint(path, content, content_bytes, sha256, form)


def read_checkpoint(
    path: Path, *, weights_keys: tuple[str, ...] = (), module_classes: frozenset[str] | None = None
) -> Checkpoint:
    """Read a checkpoint without executing anything in it, and take its weights.

    Args:
        path: The file.
        weights_keys: Keys under which the weights lie; see `OpenedCheckpoint.weights`.
        module_classes: Full names of the classes that published pickles of whole modules hold; None refuses pickled
            modules.

    Raises:
        CheckpointError: The file cannot be read, would execute code, is broken, or holds no weights.
    """
    data = read_checkpoint_bytes(path)
    opened = opened_checkpoint(path, data, hashlib.sha256(data).hexdigest(), module_classes=module_classes)
    return opened.weights(weights_keys)


def read_checkpoint_bytes(path: Path) -> bytes:
    """Content of a checkpoint's file, of at most 4 GiB.

    Raises:
        CheckpointError: The file is missing, larger, not a regular file, or cannot be read.
    """
    try:
        return read_bounded(path, _MAX_CHECKPOINT_BYTES)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CheckpointError(f"{path}: cannot read the checkpoint: {reason}") from error


def fitted_model(make: Callable[[], Model], checkpoint: Checkpoint) -> Model:
    """Make a model with a checkpoint's weights; nothing is allocated before the shapes have been compared.

    Args:
        make: Makes the model that a configuration describes.
        checkpoint: Weights of that model.

    Raises:
        CheckpointError: Parameters are missing, unexpected or of another shape; all are listed.

    Warns:
        CheckpointWarning: There was a choice between several weights.
    """
    with torch.device("meta"):
        outline = make()
    checkpoint = _without_prefix(outline, checkpoint)
    _fitting_state(outline, checkpoint)
    model = make()
    load_into(model, checkpoint)
    return model


def load_into(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into a model, which loses its weight norm if the checkpoint has none.

    Raises:
        CheckpointError: Parameters are missing, unexpected or of another shape; all are listed.

    Warns:
        CheckpointWarning: There was a choice between several weights.
    """
    model.load_state_dict(_fitting_state(model, checkpoint))
    if checkpoint.choice is not None:
        warnings.warn(f"{checkpoint.path}: {checkpoint.choice}", CheckpointWarning, stacklevel=2)


def save_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as safetensors; the same weights give the same bytes."""
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _fitting_state(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights under the names that the model has, which loses its weight norm if they have none."""
    state = official_names(checkpoint.tensors)
    if any(
        name.endswith(".weight_g") and name not in state and f"{name.removesuffix('_g')}" in state
        for name in model.state_dict()
    ):
        state = folded_state_dict(state)
        fold_weight_norm(model)
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    misshaped = [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind}: {listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: the checkpoint does not fit the configuration ({'; '.join(problems)}); "
            f"{checkpoint.choice or 'is the configuration that of this checkpoint?'}"
        )
    return state


def _without_prefix(model: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """The weights of the model alone, where a training wrote one name before those of all of its weights."""
    anchor = next((name for name in model.state_dict() if name.endswith(".bias")), None)
    names = checkpoint.tensors
    if anchor is None or anchor in names:
        return checkpoint
    prefixes = [name.removesuffix(anchor) for name in names if name.endswith(f".{anchor}")]
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{checkpoint.path}: the file holds several models ({listed(prefixes)}); save the one to export alone"
        )
    if not prefixes:
        return checkpoint
    own = {name.removeprefix(prefixes[0]): names[name] for name in names if name.startswith(prefixes[0])}
    if len(own) == len(names):
        return checkpoint.with_tensors(own)
    selection = left_out(len(own), prefixes[0], len(names) - len(own))
    remarks = "; ".join(filter(None, (checkpoint.choice, selection)))
    return dataclasses.replace(checkpoint, tensors=own, choice=remarks)


def _generator_beside(path: Path) -> str:
    """Hint at the file that HiFi-GAN's training writes beside that of the discriminators."""
    beside = path.with_name(f"g_{path.name.removeprefix('do_')}")
    return f"; {shown(beside.name)} lies beside it" if path.name.startswith("do_") and beside.exists() else ""


def _recognized_format(data: bytes) -> str:
    if data[:4] == b"PK\x03\x04":
        return "torch-zip"
    if data[:1] == b"\x80":
        return "torch-pickle"
    if len(data) > 8:
        (header_bytes,) = struct.unpack("<Q", data[:8])
        if data[8:9] == b"{" and header_bytes <= len(data) - 8:
            return "safetensors"
    raise CheckpointError("neither a PyTorch checkpoint nor a complete safetensors file")


def _loaded(data: bytes, form: str, module_classes: frozenset[str] | None) -> tuple[object, int]:
    """The content of a checkpoint, and its size without compression in bytes."""
    if form != "safetensors":
        content_bytes = _inflated_bytes(data) if form == "torch-zip" else len(data)
        return unpickle_modules(data, module_classes), content_bytes
    (header_bytes,) = struct.unpack("<Q", data[:8])
    if header_bytes > _MAX_HEADER_BYTES:
        raise CheckpointError(
            f"a safetensors file describes its tensors in at most {_MAX_HEADER_BYTES} bytes, got {header_bytes}; "
            "save the weights without other metadata"
        )
    try:
        return safetensors.torch.load(data), len(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"a broken safetensors file: {error}") from error


def _inflated_bytes(data: bytes) -> int:
    """Size of an archive's content; one that would grow beyond what weights can is refused."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inflated = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointError(f"a broken PyTorch checkpoint, cut off perhaps: {error}") from error
    if inflated > _MAX_INFLATION * len(data):
        raise CheckpointError(
            f"refused, a compressed archive of {inflated} bytes in a file of {len(data)}; extract it"
        )
    return max(inflated, len(data))
