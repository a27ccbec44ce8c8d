"""PyTorch's pickled checkpoints: the tensors are taken out, nothing is executed.

`torch.save(model)` writes class names, attributes and hooks around the weights, and loading it plainly imports and
runs them. Here every known class becomes an inert shell, every other name is refused, and only what a state dict would
hold is kept. Both of torch's formats are read: the zip archive, and the older stream of pickles followed by raw
storages (torch/serialization.py at v2.9.0 documents them by its code).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from voirs_vocoder.reference_models.checkpoints.inert_pickle import (
    MAX_PICKLE_BYTES,
    Forgotten,
    Maker,
    Shell,
    load_inert,
    shown,
)
from voirs_vocoder.reference_models.errors import CheckpointError

__all__ = ["ModuleShell", "unpickle_modules"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_DEPTH = 32
_MAX_AXES = 8
# The pairs of one list can become any number of dictionaries.
_MAX_PAIRS = 1 << 20
_MAX_NUMBER = 1 << 40
_MAX_NAME = 256
_MAX_LISTED = 4
_MAX_REASON = 200
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "ComplexFloatStorage": torch.complex64,
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


# A module's names are those of the paths to it, so a module shared along a chain has more names than any file can hold.
_SHARED = (
    "refused, a pickled module lies at two places in another one; save its state dict, best as safetensors"
)
# What often lies beside weights: numbers of NumPy, settings of a training, sizes and devices. None of it is a weight.
_BESIDE = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
    }
)


class ModuleShell(Shell):
    """What is left of a pickled module: its attributes, none of its methods."""

    def state_dict(self) -> dict[str, object]:
        """Parameters and buffers by their dotted names, as `torch.nn.Module.state_dict` would give them.

        Raises:
            CheckpointError: The modules are not a tree.
        """
        return dict(self._named("", 0, set()))

    def _named(self, prefix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, object]]:
        if depth > _MAX_DEPTH:
            raise CheckpointError(f"refused, a pickled module has at most {_MAX_DEPTH} levels of submodules")
        if id(self) in seen:
            raise CheckpointError(_SHARED)
        seen.add(id(self))
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(self.attributes, kind):
                if value is not None:
                    yield f"{prefix}{name}", value
        for name, child in _entries(self.attributes, "_modules"):
            if isinstance(child, ModuleShell):
                yield from child._named(f"{prefix}{name}.", depth + 1, seen)


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
            raise CheckpointError(f"storage {shown(self.storage.key)} is referred to but not there")
        return torch.as_strided(self.storage.data, self.shape, self.strides, self.offset)


def unpickle_modules(data: bytes, classes: frozenset[str] | None) -> object:
    """Read a checkpoint that `torch.save` wrote.

    Args:
        data: Content of the file, in either format of torch.
        classes: Full names of the classes that may appear besides torch's own layers, such as `glow.WaveGlow`; None
            refuses pickled modules.

    Returns:
        The object, with tensors, plain containers and `ModuleShell`s in it.

    Raises:
        CheckpointError: The file holds anything else, which the message names, or is broken.
    """
    try:
        return _from_archive(data, classes) if data[:2] == b"PK" else _from_stream(data, classes)
    except CheckpointError:
        raise
    except Exception as error:  # a broken stream makes readers raise any exception
        reason = (str(error).splitlines() or [type(error).__name__])[0][:_MAX_REASON]
        raise CheckpointError(f"a broken PyTorch checkpoint, cut off perhaps: {reason}") from error


def _from_archive(data: bytes, classes: frozenset[str] | None) -> object:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        pickled = next((name for name in names if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise CheckpointError(_not_of_torch(names))
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in names and _entry(archive, f"{root}byteorder") == b"big":
            raise CheckpointError("refused, weights of a big-endian machine; save them again on another one")
        if archive.getinfo(pickled).file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"refused, the pickle around the weights exceeds {MAX_PICKLE_BYTES} bytes")
        names_of = _Names(classes)
        loaded = names_of.load(io.BytesIO(_entry(archive, pickled)))
        for storage in names_of.storages.values():
            _fill(storage, _entry(archive, f"{root}data/{storage.key}"))
    return _materialized(loaded)


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CheckpointError(
            "refused, an archive compressed by other means than deflate; save the weights again"
        )
    with archive.open(entry) as file:
        # Without a limit, a wrong size in the archive's directory would not bound what is inflated.
        return file.read(max(1, entry.file_size))


def _not_of_torch(names: list[str]) -> str:
    files = ", ".join(shown(name) for name in names[:_MAX_LISTED]) or "nothing"
    return f"a zip archive of other files ({files}); extract it and give the checkpoint inside"


def _from_stream(data: bytes, classes: frozenset[str] | None) -> object:
    stream = io.BytesIO(data)
    names = _Names(classes)
    # The number that marks the format, the version of the protocol, and facts about the machine.
    magic = names.load(stream)
    if magic != _LEGACY_MAGIC:
        raise CheckpointError("not a checkpoint of torch: its first number is another one")
    for _ in range(2):
        names.load(stream)
    loaded = names.load(stream)
    keys = names.load(stream)
    for key in keys if isinstance(keys, list) else []:
        (elements,) = struct.unpack("<q", stream.read(8))
        storage = names.storages[str(key)]
        if elements != storage.elements:
            raise CheckpointError(
                f"storage {shown(key)} has {elements} numbers instead of {storage.elements}"
            )
        _fill(storage, stream.read(elements * storage.dtype.itemsize))
    return _materialized(loaded)


def _fill(storage: _Storage, content: bytes) -> None:
    wanted = storage.elements * storage.dtype.itemsize
    if len(content) != wanted:
        raise CheckpointError(
            f"storage {shown(storage.key)} has {len(content)} bytes instead of {wanted}: cut off perhaps"
        )
    storage.data = (
        torch.frombuffer(bytearray(content), dtype=storage.dtype)
        if content
        else torch.empty(0, dtype=storage.dtype)
    )


def _materialized(loaded: object) -> object:
    """The object with tensors in the place of views; each container is changed in place and visited once."""
    root = [loaded]
    pending: list[dict[Any, object] | list[object]] = [root]
    seen: set[int] = set()
    tensors: dict[int, Tensor] = {}
    while pending:
        container = pending.pop()
        entries = container.items() if isinstance(container, dict) else enumerate(container)
        for place, value in list(entries):
            if isinstance(value, _View):
                if id(value) not in tensors:
                    tensors[id(value)] = value.tensor()
                container[place] = tensors[id(value)]
                continue
            inner = value.attributes if isinstance(value, Shell) else value
            if isinstance(inner, dict | list) and id(inner) not in seen:
                seen.add(id(inner))
                pending.append(inner)
    return root[0]


class _Names:
    """What the names and storages of a pickle stand for: tensors, containers and shells, and nothing else."""

    def __init__(self, classes: frozenset[str] | None) -> None:
        self.storages: dict[str, _Storage] = {}
        self._pairs = 0
        self._shells = frozenset() if classes is None else classes.union(_SHELLS)

    def load(self, stream: io.BytesIO) -> object:
        return load_inert(stream, self._named, self._stored)

    def _named(self, module: str, name: str) -> object:
        full = f"{module}.{name}"
        if full in self._shells:
            return Maker(lambda *_: ModuleShell())
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if full == "collections.OrderedDict":
            return Maker(self._dictionary)
        if full in _MAKERS:
            return _MAKERS[full]
        if full in _BESIDE or module == "numpy.dtypes":
            return Maker(lambda *_: Forgotten())
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return Forgotten()
        raise CheckpointError(
            f"refused, since loading it would execute code or build foreign objects (class {shown(full)}); save the "
            "state dict alone, best as safetensors"
        )

    def _dictionary(self, pairs: Any = ()) -> dict[Any, object]:
        """An ordered dictionary, whose entries Python 2 gives as a list of pairs."""
        self._pairs += len(pairs)
        if self._pairs > _MAX_PAIRS:
            raise CheckpointError(
                f"refused, dictionaries of more than {_MAX_PAIRS} pairs; save the weights again"
            )
        return {key: value for key, value in pairs if isinstance(key, str | int)}

    def _stored(self, pid: object) -> object:
        """A storage by its key; older streams also name a module's class here, with its source code beside it."""
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise CheckpointError(
                "refused, an unknown reference in the checkpoint; save the state dict alone"
            )
        _, kind, key, _, elements, *view = pid
        if (
            not isinstance(kind, _StorageType)
            or not isinstance(key, str | int)
            or not isinstance(elements, int)
            or elements < 0
            or any(part is not None for part in view)
        ):
            raise CheckpointError(f"refused, a storage of an unknown kind under {shown(key)}")
        return self.storages.setdefault(str(key), _Storage(kind.dtype, str(key), elements))


def _view(storage: object, offset: Any, shape: Any, strides: Any, *_: object) -> _View:
    if (
        not isinstance(storage, _Storage)
        or not len(shape) == len(strides) <= _MAX_AXES
        or not all(
            isinstance(number, int) and 0 <= number < _MAX_NUMBER for number in (offset, *shape, *strides)
        )
        or math.prod(shape) > storage.elements
    ):
        raise CheckpointError(
            "refused, a tensor that does not lie within its storage; save the weights again"
        )
    return _View(storage, offset, tuple(shape), tuple(strides))


def _first(data: object, *_: object) -> object:
    return data


_MAKERS: Mapping[str, Maker] = {
    "collections.defaultdict": Maker(lambda *_: {}),
    "builtins.set": Maker(lambda *_: []),
    "__builtin__.set": Maker(lambda *_: []),
    "torch._utils._rebuild_tensor": Maker(_view),
    "torch._utils._rebuild_tensor_v2": Maker(_view),
    "torch._utils._rebuild_parameter": Maker(_first),
    "torch._utils._rebuild_parameter_with_state": Maker(_first),
}


def _entries(attributes: Mapping[str, object], kind: str) -> list[tuple[str, object]]:
    entries = attributes.get(kind)
    named = [(str(name), value) for name, value in entries.items()] if isinstance(entries, dict) else []
    if any(len(name) > _MAX_NAME for name, _ in named):
        raise CheckpointError(f"refused, a name in a pickled module is longer than {_MAX_NAME} characters")
    return named
