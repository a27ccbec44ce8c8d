"""The files of a published model: a checkpoint with its configuration beside it, a folder, or a tar archive of both."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from voirs_vocoder.reference_models.checkpoints.inert_pickle import shown
from voirs_vocoder.reference_models.checkpoints.reading import read_checkpoint_bytes
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.layouts.config_files import Read, read_config
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import read_bounded

__all__ = ["CONFIG_NAMES", "Package", "open_package"]

CONFIG_NAMES = (
    "config.json",
    "config.yaml",
    "config.yml",
    "hyperparams.yaml",
    "model_config.yaml",
    "params.json",
)
"""Names under which trainers publish the configuration of a model."""

# The first pattern that a file of a folder or an archive has names the weights.
_WEIGHTS_PATTERNS = (
    "*.nemo",
    "model.safetensors",
    "pytorch_model.bin",
    "bigvgan_generator.pt",
    "generator.ckpt",
    "model_weights.ckpt",
    "model_file.pth",
    "best_model.pth",
    "checkpoint-*steps.pkl",
    "g_[0-9]*",
    "generator*.pth.tar",
    "*.safetensors",
    "*.pkl",
    "*.pth",
    "*.pt",
    "*.ckpt",
    "*.bin",
)
_SHARDS = "*.index.json"
_MAX_STATISTICS_BYTES = 1 << 20
_MAX_FILES = 4096
_MAX_LISTED = 6
_TAR_MAGIC_AT = 257
_TAR_MAGIC = b"ustar"
_GZIP_MAGIC = b"\x1f\x8b"
# Weights hardly compress: a tar archive that grows more than this was made to exhaust memory.
_MAX_INFLATION = 4
_TAR_PADDING_BYTES = 1 << 20


@dataclass(frozen=True)
class Package:
    """The files of a published model.

    Attributes:
        path: File that the weights were read from; the archive where they lie in one.
        weights: Content of the weights' file.
        sha256: SHA-256 of the file at `path`, in lower-case hex.
        config_name: Name of the configuration's file, for errors.
        config_problem: Why there is no configuration; None where there is one.
    """

    path: Path
    weights: bytes
    sha256: str
    config_name: str
    config_problem: ModelConfigError | None
    _config: dict[str, object]
    _files: Mapping[str, Read]

    def config(self) -> dict[str, object]:
        """Keys and values of the configuration's file.

        Raises:
            ModelConfigError: The file is missing or malformed.
        """
        if self.config_problem is not None:
            raise self.config_problem
        return self._config

    def has_file(self, name: str) -> bool:
        """Whether a file of that name lies beside the weights."""
        return name in self._files

    def file(self, name: str) -> bytes:
        """Content of a small file beside the weights, such as `stats.npy`.

        Raises:
            CheckpointError: The file is missing, larger than 1 MiB, not a regular file, or cannot be read.
        """
        if name not in self._files:
            raise CheckpointError(
                f"{self.path}: {name} must lie beside the weights, it is missing; put it there"
            )
        try:
            return self._files[name](_MAX_STATISTICS_BYTES)
        except InputError as error:
            raise CheckpointError(str(error)) from error


def open_package(path: Path, config: Path | None, official_config: str | None = None) -> Package:
    """Read the files of a published model; no tensor is made yet, and nothing is executed.

    Args:
        path: File of the weights; a folder or a tar archive, plain or compressed by gzip, that holds such a file and
            its configuration.
        config: File of the configuration; None takes the one in the folder or archive, or beside the weights.
        official_config: Name of the configuration's file that wins where several lie there; None refuses several.

    Raises:
        CheckpointError: The weights are missing or ambiguous, or the archive is unsafe or damaged.
        ModelConfigError: Several configurations lie there.
    """
    is_folder = path.is_dir()
    if is_folder:
        files = _folder_files(path)
        path = path / _weights_name(path, files)
    else:
        files = _folder_files(path.parent, only=(*CONFIG_NAMES, "stats.h5", "stats.npy"))
    weights = read_checkpoint_bytes(path)
    sha256 = hashlib.sha256(weights).hexdigest()
    archive = _archive_files(path, weights)
    if archive is not None:
        files = {**files, **archive} if is_folder else archive
        weights = archive[_weights_name(path, archive)](len(weights) * _MAX_INFLATION)
    if config is not None:
        name, read = str(config), _file_reader(config)
    else:
        chosen = _config_name(path, files, official_config)
        name, read = str(path.parent / chosen), files.get(chosen) or _file_reader(path.with_name(chosen))
    problem, mapping = None, {}
    try:
        mapping = read_config(read, name)
    except ModelConfigError as error:
        problem = error
    return Package(path, weights, sha256, name, problem, mapping, files)


def _config_name(path: Path, files: Mapping[str, Read], official: str | None) -> str:
    if official is not None and official in files:
        return official
    found = [name for name in CONFIG_NAMES if name in files]
    if len(found) > 1:
        raise ModelConfigError(
            f"{path}: one configuration must lie beside the weights, got {', '.join(found)}; name the right one"
        )
    return found[0] if found else official or CONFIG_NAMES[0]


def _weights_name(path: Path, files: Mapping[str, Read]) -> str:
    for pattern in _WEIGHTS_PATTERNS:
        found = sorted(name for name in files if fnmatch.fnmatchcase(name, pattern))
        if len(found) > 1:
            raise CheckpointError(
                f"{path}: one checkpoint must lie there, got {', '.join(map(shown, found[:_MAX_LISTED]))}; name the "
                "one to export"
            )
        if found:
            return found[0]
    shards = [name for name in files if fnmatch.fnmatchcase(name, _SHARDS)]
    if shards:
        raise CheckpointError(
            f"{path}: the weights must be one file, {shown(shards[0])} names several; save them as one safetensors file"
        )
    listed = ", ".join(shown(name) for name in sorted(files)[:_MAX_LISTED]) or "nothing"
    raise CheckpointError(f"{path}: a checkpoint must lie there, got {listed}; name the file of the weights")


def _folder_files(folder: Path, only: tuple[str, ...] | None = None) -> dict[str, Read]:
    """Readers of a folder's files by name; hidden files, folders and devices are left out."""
    if only is not None:
        return {name: _file_reader(folder / name) for name in only if (folder / name).is_file()}
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot read the folder ({error.strerror}); check the path"
        ) from error
    if len(names) > _MAX_FILES:
        raise CheckpointError(
            f"{folder}: a folder of a model has at most {_MAX_FILES} files, got {len(names)}; name the checkpoint"
        )
    return {name: _file_reader(folder / name) for name in names if (folder / name).is_file()}


def _file_reader(path: Path) -> Read:
    return lambda most_bytes: read_bounded(path, most_bytes)


def _archive_files(path: Path, data: bytes) -> dict[str, Read] | None:
    """Readers of the files of a tar archive by their last name; None where the data is no archive."""
    if data[:2] == _GZIP_MAGIC:
        data = _inflated(path, data)
    if data[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] != _TAR_MAGIC:
        return None
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            return _member_files(path, data, archive)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged header makes tarfile raise any exception
        raise CheckpointError(
            f"{path}: a damaged tar archive ({type(error).__name__}); get the file again"
        ) from error


def _member_files(path: Path, data: bytes, archive: tarfile.TarFile) -> dict[str, Read]:
    files: dict[str, Read] = {}
    for count, member in enumerate(archive, 1):
        if count > _MAX_FILES:
            raise CheckpointError(
                f"{path}: an archive of a model has at most {_MAX_FILES} members; extract it"
            )
        name = PurePosixPath(member.name).name
        if member.isdir() or name.startswith("."):
            continue
        if not member.isreg() or member.issparse():
            raise CheckpointError(
                f"{path}: refused, {shown(member.name)} is no regular file in the archive; extract it and check it"
            )
        end = member.offset_data + member.size
        if member.size < 0 or end > len(data):
            raise CheckpointError(
                f"{path}: {shown(member.name)} is cut off in the archive; get the file again"
            )
        if name in files:
            raise CheckpointError(
                f"{path}: {shown(name)} lies in several folders of the archive; extract it and name one checkpoint"
            )
        files[name] = _member_reader(data, member.offset_data, member.size, f"{path}: {shown(name)}")
    return files


def _member_reader(data: bytes, begin: int, size: int, where: str) -> Read:
    def read(most_bytes: int) -> bytes:
        if size > most_bytes:
            raise InputError(f"{where} has {size} bytes, at most {most_bytes} are read; extract and check it")
        return data[begin : begin + size]

    return read


def _inflated(path: Path, data: bytes) -> bytes:
    most_bytes = _MAX_INFLATION * len(data) + _TAR_PADDING_BYTES
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(data, most_bytes)
    except zlib.error as error:
        raise CheckpointError(f"{path}: a damaged gzip file ({error}); get the file again") from error
    if unpacker.unconsumed_tail:
        raise CheckpointError(
            f"{path}: refused, {len(data)} bytes of gzip would become more than {most_bytes}; extract the archive"
        )
    if not unpacker.eof:
        raise CheckpointError(f"{path}: the gzip file is cut off; get the file again")
    return content
