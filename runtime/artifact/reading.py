"""Reading an artifact: every path stays inside its directory, every file is verified on the bytes that are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from voirs_vocoder.runtime.artifact.declared_tensors import require_declared
from voirs_vocoder.runtime.artifact.directory import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    ArtifactDirectory,
    require_listed_path,
    version_paths,
)
from voirs_vocoder.runtime.artifact.graph_rules import check_graph
from voirs_vocoder.runtime.artifact.manifest import (
    EngineEntry,
    FileEntry,
    GraphEntry,
    Manifest,
    Precision,
    Target,
    decode_manifest,
    graph_name,
)
from voirs_vocoder.runtime.artifact.split_graph import SplitGraph, split_graph
from voirs_vocoder.runtime.errors import ArtifactError, InputError, ProviderError

__all__ = ["MAX_MANIFEST_BYTES", "Artifact", "listing_manifest", "read_manifest"]

_Content = TypeVar("_Content")

MAX_MANIFEST_BYTES = 16 << 20

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Artifact:
    """An artifact directory and its manifest.

    Attributes:
        root: Directory of the artifact.
        manifest: Manifest as it was read; files that it does not list are ignored.
    """

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: Path | str, *, public_key: Path | str | None = None) -> Artifact:
        """Read the manifest, and verify its signature if a key is given; no other file is opened.

        The signature covers the manifest, whose hashes every other file is compared with when it is read.

        Args:
            root: Directory of the artifact.
            public_key: PEM file of the public key with which the artifact must be signed; None takes an artifact that
                is signed by anybody or not at all.

        Raises:
            ArtifactError: There is no artifact there, or its manifest is damaged, of a later format, or names a
                path outside the directory; or it is not signed with the private key of `public_key`, or was changed
                since.
            InputError: `public_key` cannot be read or is no key for signatures of artifacts, or `cryptography` is not
                installed.
        """
        root = Path(root)
        if public_key is None:
            data, _ = read_manifest(root)
            return cls(root, listing_manifest(root, data))
        # Unsigned artifacts are opened without what verifies others, which takes time to import.
        from voirs_vocoder.runtime.artifact.keys import read_public_key
        from voirs_vocoder.runtime.artifact.signature import require_signed
        from voirs_vocoder.runtime.artifact.signed_files import verified_files

        key = read_public_key(public_key)
        data, signature = read_manifest(root, with_signature=True)
        where = str(root / SIGNATURE_NAME)
        if signature is None:
            raise ArtifactError(
                f"{where}: the artifact must be signed, there is no signature; get a signed one, or sign this one with "
                "`voirs-vocoder sign`"
            )
        # Before the manifest is parsed, which may come from anybody until then.
        signed = verified_files(signature, key, where)
        manifest = listing_manifest(root, data)
        require_signed(signed, data, manifest, where)
        return cls(root, manifest)

    def read(self, entry: FileEntry) -> bytes:
        """Read a file and verify its length and hash.

        Args:
            entry: Entry of the file in the manifest.

        Raises:
            ArtifactError: The file is missing, leads out of the artifact, or has another length or hash.
        """

        def read(file: BinaryIO) -> bytes:
            # Before the read, which would allocate what the manifest claims.
            if os.fstat(file.fileno()).st_size != entry.size_bytes:
                raise self._differs(entry)
            data = file.read(entry.size_bytes + 1)
            if len(data) != entry.size_bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
                raise self._differs(entry)
            return data

        return self._as_recorded(entry, read)

    def copy(self, entry: FileEntry, target: BinaryIO) -> None:
        """Copy a file piece by piece, verified before the first piece is written and again as it is written.

        Args:
            entry: Entry of the file in the manifest.
            target: Receives the bytes of the file.

        Raises:
            ArtifactError: The file is missing, leads out of the artifact, or has another length or hash; nothing was
                written.
            InputError: The file changed while it was copied; a part of it was written.
        """

        def copy(file: BinaryIO) -> None:
            if os.fstat(file.fileno()).st_size != entry.size_bytes:
                raise self._differs(entry)
            if _hashed(file, entry.size_bytes) != entry.sha256:
                raise self._differs(entry)
            file.seek(0)
            if _hashed(file, entry.size_bytes, target) != entry.sha256:
                raise InputError(
                    f"{self.root / entry.path}: changed while it was read; wait until it is written"
                )

        self._as_recorded(entry, copy)

    def read_graph(self, entry: GraphEntry) -> bytes:
        """Read a graph, verify it, and check it before any library gets it; see `check_graph`.

        Args:
            entry: Entry of the graph in the manifest.

        Raises:
            ArtifactError: The file is missing, leads out of the artifact, has another length or hash, or is no ONNX
                model of standard operators over its own weights with the inputs and outputs that the manifest states.
        """
        data = self.read(entry.file)
        with self._naming(entry.file):
            rules = check_graph(data)
        require_declared(rules.inputs, rules.outputs, entry)
        return data

    def read_split(self, entry: FileEntry) -> SplitGraph:
        """Read, verify and check a graph as skeleton and weights, without the whole file in memory.

        Args:
            entry: Entry of the graph's file in the manifest.

        Raises:
            ArtifactError: The file is missing, leads out of the artifact, has another length or hash, or is no ONNX
                model of standard operators over its own weights.
        """

        def read(file: BinaryIO) -> SplitGraph:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes != entry.size_bytes:
                raise self._differs(entry)
            with self._naming(entry):
                graph = split_graph(file, size_bytes)
            if graph.sha256 != entry.sha256:
                raise self._differs(entry)
            return graph

        return self._as_recorded(entry, read)

    def _as_recorded(self, entry: FileEntry, read: Callable[[BinaryIO], _Content]) -> _Content:
        """What `read` returns for the first place that holds the recorded bytes; it raises for other bytes.

        While a file is replaced, the bytes that this manifest records lie at its path or under their hash. They are
        looked for at the path once more, since they may have moved there meanwhile.
        """
        problems: list[ArtifactError] = []
        for path in (entry.path, *version_paths(entry.sha256), entry.path):
            try:
                with self._opened(path) as file:
                    return read(file)
            except ArtifactError as error:
                problems.append(error)
        raise self._differs(entry) if self._is_outdated() else problems[0]

    @contextmanager
    def _opened(self, path: str) -> Iterator[BinaryIO]:
        try:
            with ArtifactDirectory(self.root) as directory, directory.open(path) as file:
                yield file
        except OSError as error:
            raise ArtifactError(
                f"{self.root / path}: cannot read a file of the artifact: {error.strerror}"
            ) from error

    @contextmanager
    def _naming(self, entry: FileEntry) -> Iterator[None]:
        """Put the path of a file before the error about its content."""
        try:
            yield
        except ArtifactError as error:
            raise ArtifactError(f"{self.root / entry.path}: {error}") from error

    def _differs(self, entry: FileEntry) -> ArtifactError:
        path = self.root / entry.path
        if self._is_outdated():
            return ArtifactError(f"{path}: the artifact was changed while it was read; open it again")
        return ArtifactError(
            f"{path}: differs from what the manifest recorded; copy or export the artifact again"
        )

    def _is_outdated(self) -> bool:
        """Whether the directory has another manifest by now."""
        try:
            return Artifact.open(self.root).manifest != self.manifest
        except ArtifactError:
            return False

    def verify(self) -> Iterator[tuple[FileEntry, ArtifactError | None]]:
        """Verify every listed file.

        Yields:
            Each file's entry with its error; None for a file that is as the manifest recorded it.
        """
        for entry in self.manifest.all_files():
            try:
                self.read(entry)
            except ArtifactError as error:
                yield entry, error
            else:
                yield entry, None

    def graph(self, role: str, precision: Precision, target: Target | None = None) -> GraphEntry:
        """Find the graph of a role and a precision.

        Args:
            role: Role of the graph, such as `offline`.
            precision: Precision of the graph, such as `fp32`.
            target: Kind of backend that the graph is made for, such as `cpu` of INT8; None for a precision whose
                graphs run everywhere.

        Raises:
            ProviderError: The artifact holds none; the message lists what it holds.
        """
        for graph in self.manifest.graphs:
            if (graph.role, graph.precision, graph.target) == (role, precision, target):
                return graph
        wanted = graph_name(role, precision, target)
        held = ", ".join(graph.name for graph in self.manifest.graphs)
        raise ProviderError(
            f"{self.root}: no graph {wanted} in this artifact, it holds {held}; make it with `voirs-vocoder export` "
            "or `quantize`"
        )

    def engines(self, role: str, precision: Precision) -> tuple[EngineEntry, ...]:
        """TensorRT engines of a role and a precision; empty if the artifact has none.

        Args:
            role: Role of the graph that the engines were built from.
            precision: Precision of the graph that the engines were built from.
        """
        return tuple(e for e in self.manifest.engines if (e.role, e.precision) == (role, precision))


def _hashed(file: BinaryIO, size_bytes: int, copy: BinaryIO | None = None) -> str:
    """SHA-256 of so many bytes of a file, which are written to a copy if there is one."""
    digest = hashlib.sha256()
    while piece := file.read(min(size_bytes, _PIECE_BYTES)):
        digest.update(piece)
        if copy is not None:
            copy.write(piece)
        size_bytes -= len(piece)
    return digest.hexdigest()


def read_manifest(root: Path, *, with_signature: bool = False) -> tuple[bytes, bytes | None]:
    """Bytes of an artifact's manifest, and those of its signature; None where it has none.

    Args:
        root: Directory of the artifact.
        with_signature: Whether the signature is read; False gives None for it.

    Returns:
        The two, read from the same directory. Of a manifest that is too long, more than `MAX_MANIFEST_BYTES`.

    Raises:
        ArtifactError: There is no artifact there, or a file of the two cannot be read.
    """
    path, signature = root / MANIFEST_NAME, None
    try:
        directory = ArtifactDirectory(root)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ArtifactError(
            f"{root}: an artifact is a directory with a {MANIFEST_NAME}; there is none"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{root}: cannot open the artifact: {error.strerror}") from error
    try:
        with directory, directory.open(MANIFEST_NAME) as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
            if with_signature:
                from voirs_vocoder.runtime.artifact.signature import read_signature

                signature = read_signature(directory)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read the manifest: {error.strerror}") from error
    return data, signature


def listing_manifest(root: Path, data: bytes) -> Manifest:
    """Decode a manifest and check the paths that it lists.

    Args:
        root: Directory of the artifact, for messages.
        data: Bytes of the manifest.

    Raises:
        ArtifactError: The manifest is too long, damaged or of a later format, or lists a file twice or outside the
            artifact.
    """
    where = root / MANIFEST_NAME
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"{where}: a manifest has at most {MAX_MANIFEST_BYTES} bytes")
    manifest = decode_manifest(data, str(where))
    paths = [entry.path for entry in manifest.all_files()]
    for path in paths:
        require_listed_path(root, path)
    if len(set(paths)) != len(paths):
        raise ArtifactError(f"{where}: every file must be listed once; export the artifact again")
    return manifest
