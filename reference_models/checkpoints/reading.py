"""Checkpoints in, without executing anything in them; safetensors out.

The format is recognized by content, never by the file's name: safetensors, torch's zip archives, and the older
pickle stream. Pickles go through torch's `weights_only` loader, which knows tensors and containers and nothing else;
where a family was published as whole pickled modules, through `pickled_module`, which takes the tensors out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from voirs_vocoder.reference_models.checkpoints.pickled_module import ModuleShell, unpickle_modules
from voirs_vocoder.reference_models.checkpoints.weight_norm import (
    fold_weight_norm,
    folded_state_dict,
    official_names,
)
from voirs_vocoder.reference_models.errors import CheckpointError

__all__ = ["Checkpoint", "load_into", "read_checkpoint", "save_safetensors"]

_MAX_CHECKPOINT_BYTES = 4 << 30
_MAX_LISTED = 8
_WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's weights.

    Attributes:
        path: File that the weights were read from.
        tensors: Weights by parameter name, float32, finite.
        sha256: SHA-256 of the file's bytes, in lower-case hex.
        format: `safetensors`, `torch-zip` or `torch-pickle`.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    sha256: str
    format: str

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        """A copy of the checkpoint with other tensors, such as renamed ones."""
        return dataclasses.replace(self, tensors=tensors)


def read_checkpoint(
    path: Path, *, weights_keys: tuple[str, ...] = (), module_classes: frozenset[str] | None = None
) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file.
        weights_keys: Keys under which the family's official pickles hold the weights, the first that is there; a file
            without them is itself the state dict.
        module_classes: Full names of the classes in the family's published pickles of whole modules; None where it
            publishes none.

    Returns:
        The weights; a `module.` before every name, left by data-parallel training, is dropped.

    Raises:
        CheckpointError: The file cannot be read, would execute code, is broken, or holds no weights.
    """
    data = _read(path)
    form = _recognized_format(path, data)
    if form == "safetensors":
        try:
            loaded: object = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path}: a broken safetensors file: {error}") from error
    else:
        loaded = _unpickle(path, data, form, module_classes)
    if isinstance(loaded, dict):
        nested = (loaded[key] for key in weights_keys if isinstance(loaded.get(key), (dict, ModuleShell)))
        loaded = next(nested, loaded)
    if isinstance(loaded, ModuleShell):
        loaded = loaded.state_dict()
    tensors = _weights(path, loaded, weights_keys, len(data))
    return Checkpoint(path, tensors, hashlib.sha256(data).hexdigest(), form)


def load_into(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into a model, which loses its weight norm if the checkpoint has none.

    Raises:
        CheckpointError: Parameters are missing, unexpected or of another shape; all are listed.
    """
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
        f"{len(names)} {kind}: {', '.join(names[:_MAX_LISTED])}{', ...' if len(names) > _MAX_LISTED else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: the checkpoint does not fit the configuration ({'; '.join(problems)}); "
            "is the configuration that of this checkpoint?"
        )
    model.load_state_dict(state)


def save_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as safetensors; the same weights give the same bytes."""
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MAX_CHECKPOINT_BYTES:
            raise CheckpointError(
                f"{path}: a checkpoint has at most {_MAX_CHECKPOINT_BYTES} bytes, got {size}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    if not data:
        raise CheckpointError(f"{path}: the checkpoint is empty; was the download cut off?")
    return data


def _recognized_format(path: Path, data: bytes) -> str:
    if data[:4] == b"PK\x03\x04":
        return "torch-zip"
    if data[:1] == b"\x80":
        return "torch-pickle"
    if len(data) > 8:
        (header_bytes,) = struct.unpack("<Q", data[:8])
        if data[8:9] == b"{" and header_bytes <= len(data) - 8:
            return "safetensors"
    raise CheckpointError(f"{path}: neither a PyTorch checkpoint nor a complete safetensors file")


def _unpickle(path: Path, data: bytes, form: str, module_classes: frozenset[str] | None) -> object:
    if form == "torch-zip":
        _refuse_inflating_archive(path, data)
    if module_classes is not None:
        try:
            return unpickle_modules(data, module_classes)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    try:
        with warnings.catch_warnings():
            # Old checkpoints use TypedStorage; the warning addresses their authors.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            # torch explains itself at length; the line that names the object is the useful one.
            lines = str(error).splitlines()
            reason = next((line.strip() for line in lines if "GLOBAL" in line), lines[0])
            raise CheckpointError(
                f"{path}: refused, since loading it would execute code or build foreign objects ({reason}); "
                "save the state dict alone, best as safetensors"
            ) from error
        raise CheckpointError(f"{path}: a broken PyTorch checkpoint: {error}") from error
    except Exception as error:  # a broken stream makes torch's readers raise any exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: a broken PyTorch checkpoint, cut off perhaps: {reason}") from error


def _refuse_inflating_archive(path: Path, data: bytes) -> None:
    """Torch stores its archives uncompressed; one that would grow when read is not torch's."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inflated = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: a broken PyTorch checkpoint, cut off perhaps: {error}") from error
    if inflated > len(data):
        raise CheckpointError(f"{path}: refused, a compressed archive of {inflated} bytes; torch writes none")


def _weights(path: Path, loaded: object, weights_keys: tuple[str, ...], file_bytes: int) -> dict[str, Tensor]:
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path}: a checkpoint must hold a state dict, got {type(loaded).__name__}")
    strangers = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if strangers:
        expected = " or ".join(repr(key) for key in weights_keys)
        hint = f"; the weights are expected under {expected}" if expected else ""
        raise CheckpointError(
            f"{path}: not a state dict, these entries are no tensors: {', '.join(strangers[:_MAX_LISTED])}{hint}"
        )
    prefix = "module." if all(str(name).startswith("module.") for name in loaded) else ""
    tensors: dict[str, Tensor] = {}
    for key, value in loaded.items():
        name = str(key).removeprefix(prefix)
        if name in tensors:
            raise CheckpointError(f"{path}: every weight must have a name of its own, {name!r} appears twice")
        if value.dtype not in _WEIGHT_DTYPES:
            raise CheckpointError(
                f"{path}: weights must be floating point, {name} is {value.dtype}; use float32, float16 or bfloat16"
            )
        if value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
            raise CheckpointError(
                f"{path}: weights must be dense and have data, {name} is {value.layout} on {value.device}"
            )
        # Strides of zero let a few bytes claim to be terabytes.
        if value.numel() * value.element_size() > file_bytes:
            raise CheckpointError(
                f"{path}: refused, {name} claims {value.numel()} numbers in a file of {file_bytes} bytes"
            )
        weight = value.to(torch.float32)
        if not torch.isfinite(weight).all():
            raise CheckpointError(f"{path}: weights must be finite, {name} has NaN or infinity in float32")
        tensors[name] = weight
    return tensors
