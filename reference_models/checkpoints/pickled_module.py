"""Whole pickled modules, as some checkpoints were published: the tensors are taken out, nothing is executed.

`torch.save(model)` writes class names, attributes and hooks around the weights, and loading it plainly imports and
runs them. Here every known class becomes an inert shell, every other name is refused, and only what a state dict would
hold is kept. Both of torch's formats are read: the zip archive, and the older stream of pickles followed by raw
storages (torch/serialization.py at v2.9.0 documents them by its code).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from voirs_vocoder.reference_models.errors import CheckpointError

__all__ = ["ModuleShell", "unpickle_modules"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 64 << 20
_MAX_DEPTH = 32
_MAX_AXES = 8
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What torch itself puts around the weights of a module. The last one is of torch 1.0.
_SHELLS = (
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv1d",
    "torch.nn.modules.conv.ConvTranspose1d",
    "torch.nn.parallel.data_parallel.DataParallel",
    "torch.nn.utils.weight_norm.WeightNorm",
    "torch.nn.backends.thnn._get_thnn_function_backend",
)


class ModuleShell:
    """What is left of a pickled object of a known class: its attributes, none of its methods."""

    def __init__(self, *arguments: object) -> None:
        """Forget the arguments of construction, which no weight depends on."""
        self.attributes: dict[str, object] = {}

    def __setstate__(self, state: object) -> None:
        """Take the attributes that a pickle states."""
        self.attributes = state if isinstance(state, dict) else {}

    def state_dict(self) -> dict[str, object]:
        """Parameters and buffers by their dotted names, as `torch.nn.Module.state_dict` would give them.

        Raises:
            CheckpointError: The modules are not a tree.
        """
        return dict(self._named("", 0))

    def _named(self, prefix: str, depth: int) -> Iterator[tuple[str, object]]:
        if depth > _MAX_DEPTH:
            raise CheckpointError(f"refused, a pickled module has at most {_MAX_DEPTH} levels of submodules")
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(self.attributes, kind):
                if value is not None:
                    yield f"{prefix}{name}", value
        for name, child in _entries(self.attributes, "_modules"):
            if isinstance(child, ModuleShell):
                yield from child._named(f"{prefix}{name}.", depth + 1)


@dataclass(eq=False)
class _Storage:
    """A storage that a pickle refers to; `data` is filled in once the pickle has been read."""

    dtype: torch.dtype
    key: str
    elements: int
    data: Tensor | None = None


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class _View:
    """A tensor before its storage is there."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def tensor(self) -> Tensor:
        if self.storage.data is None:
            raise CheckpointError(f"storage {self.storage.key!r} is referred to but not there")
        return torch.as_strided(self.storage.data, self.shape, self.strides, self.offset)


def unpickle_modules(data: bytes, classes: frozenset[str]) -> object:
    """Read a checkpoint that may hold pickled modules.

    Args:
        data: The whole file, in either format of torch.
        classes: Full names of the classes that may appear besides torch's own layers, such as `glow.WaveGlow`.

    Returns:
        The object, with tensors, plain containers and `ModuleShell`s in it.

    Raises:
        CheckpointError: It holds anything else, named in the message, or is broken.
    """
    try:
        return _from_archive(data, classes) if data[:2] == b"PK" else _from_stream(data, classes)
    except CheckpointError:
        raise
    except Exception as error:  # a broken stream makes unpicklers raise any exception
        raise CheckpointError(f"a broken PyTorch checkpoint, cut off perhaps: {error}") from error


def _from_archive(data: bytes, classes: frozenset[str]) -> object:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix(
            "data.pkl"
        )
        unpickler = _Unpickler(archive.read(f"{root}data.pkl"), classes)
        loaded = unpickler.load_checked()
        for storage in unpickler.storages.values():
            _fill(storage, archive.read(f"{root}data/{storage.key}"))
    return _materialized(loaded, {})


def _from_stream(data: bytes, classes: frozenset[str]) -> object:
    stream = io.BytesIO(data)
    magic, _, _ = (_next_unpickler(stream, data, classes).load_checked() for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise CheckpointError("not a checkpoint of torch: its first number is another one")
    unpickler = _next_unpickler(stream, data, classes)
    loaded = unpickler.load_checked()
    keys = _next_unpickler(stream, data, classes).load_checked()
    for key in keys if isinstance(keys, list) else []:
        (elements,) = struct.unpack("<q", stream.read(8))
        storage = unpickler.storages[str(key)]
        if elements != storage.elements:
            raise CheckpointError(f"storage {key!r} has {elements} numbers instead of {storage.elements}")
        _fill(storage, stream.read(elements * storage.dtype.itemsize))
    return _materialized(loaded, {})


def _next_unpickler(stream: io.BytesIO, data: bytes, classes: frozenset[str]) -> _Unpickler:
    """An unpickler of the pickle that starts where the stream is; the stream moves past it."""
    start = stream.tell()
    for _ in pickletools.genops(stream):
        pass
    return _Unpickler(data[start : stream.tell()], classes)


def _fill(storage: _Storage, content: bytes) -> None:
    wanted = storage.elements * storage.dtype.itemsize
    if len(content) != wanted:
        raise CheckpointError(f"storage {storage.key!r} has {len(content)} bytes instead of {wanted}")
    storage.data = (
        torch.frombuffer(bytearray(content), dtype=storage.dtype)
        if content
        else torch.empty(0, dtype=storage.dtype)
    )


def _materialized(value: object, seen: dict[int, object]) -> object:
    """The object with tensors in the place of views; containers are changed in place and visited once."""
    if isinstance(value, _View):
        return value.tensor()
    if id(value) in seen:
        return value
    seen[id(value)] = value
    if isinstance(value, dict):
        for key in value:
            value[key] = _materialized(value[key], seen)
    elif isinstance(value, list):
        value[:] = [_materialized(entry, seen) for entry in value]
    elif isinstance(value, ModuleShell):
        _materialized(value.attributes, seen)
    return value


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers and shells, and nothing else."""

    def __init__(self, data: bytes, classes: frozenset[str]) -> None:
        self.storages: dict[str, _Storage] = {}
        self._data = data
        self._shells = classes.union(_SHELLS)
        super().__init__(io.BytesIO(data))

    def load_checked(self) -> object:
        """Load, after a look at what the pickle would make the unpickler allocate."""
        if len(self._data) > _MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"refused, the pickle around the weights has {len(self._data)} bytes, at most {_MAX_PICKLE_BYTES} "
                "are read"
            )
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._data)):
            # The unpickler makes room for the largest index that is named.
            if "PUT" in opcode.name and isinstance(argument, int) and argument > count:
                raise CheckpointError("refused, the pickle numbers its objects in leaps")
        return self.load()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name: a shell, a container, or one of our own functions."""
        full = f"{module}.{name}"
        if full in self._shells:
            return ModuleShell
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if full in _SAFE:
            return _SAFE[full]
        raise CheckpointError(
            f"refused, since loading it would execute code or build foreign objects (class {full}); save the state "
            "dict alone, best as safetensors"
        )

    def persistent_load(self, pid: object) -> object:
        """A storage by its key; older streams also name a module's class here, with its source code beside it."""
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise CheckpointError(f"refused, an unknown reference {str(pid)[:60]!r} in the checkpoint")
        _, kind, key, _, elements, *view = pid
        if not isinstance(kind, _StorageType) or not isinstance(elements, int) or elements < 0 or any(view):
            raise CheckpointError(f"refused, a storage of an unknown kind under {key!r}")
        return self.storages.setdefault(str(key), _Storage(kind.dtype, str(key), elements))


def _view(storage: object, offset: Any, shape: Any, strides: Any, *_: object) -> _View:
    numbers = (offset, *shape, *strides)
    if (
        not isinstance(storage, _Storage)
        or not all(isinstance(number, int) and number >= 0 for number in numbers)
        or not len(shape) == len(strides) <= _MAX_AXES
        or math.prod(shape) > storage.elements
    ):
        raise CheckpointError("refused, a tensor that does not lie within its storage")
    return _View(storage, offset, shape, strides)


def _parameter(data: object, *_: object) -> object:
    return data


_SAFE: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": _parameter,
}


def _entries(attributes: Mapping[str, object], kind: str) -> list[tuple[str, object]]:
    entries = attributes.get(kind)
    return [(str(name), value) for name, value in entries.items()] if isinstance(entries, dict) else []
