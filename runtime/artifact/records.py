"""Parts of a manifest that describe files, tensors and engines; their numbers are bounded where they are read."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voirs_vocoder.runtime.artifact.axes import parsed_axis
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = [
    "MAX_AXIS",
    "MAX_COMMANDS",
    "CommandRecord",
    "EngineEntry",
    "FileEntry",
    "HopLength",
    "Parameter",
    "Precision",
    "Profile",
    "Record",
    "Role",
    "Target",
    "TensorInfo",
]

# Names are parts of file names; `$` would let a line break pass.
Precision = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9]{1,15}\Z")]
"""Name of a precision, such as `fp32`, `fp16` or `int8`; which of them an artifact holds, its graphs state."""

Target = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{1,31}\Z")]
"""Name of the kind of backend that a graph is made for, such as `cpu` or `tensorrt` of the INT8 graphs."""

Role = Annotated[str, Meta(pattern=r"\A[a-z][a-z-]{1,31}\Z")]
"""Name of what a graph does, such as `offline` or `stream`."""

HopLength = Annotated[int, Meta(ge=1, le=1 << 16)]
"""Audio samples per mel frame."""

_Text = Annotated[str, Meta(max_length=1 << 12)]
Parameter = (
    bool
    | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    | float
    | _Text
    | tuple[_Text | int, ...]
    | None
)
"""Value of a command's parameter."""

MAX_COMMANDS = 256
"""Largest number of commands that a manifest records."""

MAX_AXIS = 1 << 24
"""Largest fixed size of an axis."""

_MAX_RANK = 8
_MAX_FILE_BYTES = 1 << 40


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records of a manifest: immutable, with named fields, without unknown ones."""


class FileEntry(Record, frozen=True, kw_only=True):
    """A file of the artifact.

    Attributes:
        path: Path relative to the artifact, with forward slashes.
        sha256: SHA-256 of the file's bytes, in lower-case hex.
        size_bytes: Length of the file, in bytes.
    """

    path: str
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size_bytes: Annotated[int, Meta(ge=0, le=_MAX_FILE_BYTES)]


class CommandRecord(Record, frozen=True, kw_only=True):
    """A command that made or changed the artifact, as far as it decides the result: no paths, hosts or dates.

    Attributes:
        command: Name of the command, such as `export` or `quantize`.
        parameters: Parameters by name, those with default values included.
        tools: Versions of the packages that took part, by package name.
    """

    command: Annotated[str, Meta(pattern=r"\A[a-z][a-z-]{1,31}\Z")]
    parameters: Annotated[dict[_Text, Parameter], Meta(max_length=1 << 10)]
    tools: Annotated[dict[_Text, _Text], Meta(max_length=1 << 6)]


class TensorInfo(Record, frozen=True, kw_only=True):
    """Input or output of a graph.

    Attributes:
        name: Name of the tensor.
        dtype: Element type.
        shape: Size of each axis, or the name of a dynamic axis; see `voirs_vocoder.runtime.artifact.axes`.
    """

    name: str
    dtype: Literal["float32", "int64"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=MAX_AXIS)] | str, ...], Meta(max_length=_MAX_RANK)]

    def __post_init__(self) -> None:
        """Check that every dynamic axis has a name that this version knows."""
        for axis in self.shape:
            if isinstance(axis, str):
                try:
                    parsed_axis(axis)
                except ArtifactError as error:
                    raise ValueError(str(error)) from error


_Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=1 << 31)], ...], Meta(max_length=_MAX_RANK)]


class Profile(Record, frozen=True, kw_only=True):
    """Optimization profile of a TensorRT engine.

    Attributes:
        minimum: Input to its smallest shape.
        optimum: Input to the shape that the engine is optimized for.
        maximum: Input to its largest shape.
    """

    minimum: dict[str, _Shape]
    optimum: dict[str, _Shape]
    maximum: dict[str, _Shape]

    def __post_init__(self) -> None:
        """Check that the three name the same inputs, with as many axes, in order of size."""
        for name in {*self.minimum, *self.optimum, *self.maximum}:
            ends = tuple(shapes.get(name) for shapes in (self.minimum, self.optimum, self.maximum))
            low, best, high = ends
            if low is None or best is None or high is None or not len(low) == len(best) == len(high):
                raise ValueError(f"a profile must have three shapes of one rank for {name!r}, got {ends}")
            if not all(a <= b <= c for a, b, c in zip(low, best, high, strict=True)):
                raise ValueError(
                    f"a profile must have minimum <= optimum <= maximum for {name!r}, got {ends}"
                )


class EngineEntry(Record, frozen=True, kw_only=True):
    """A TensorRT engine, with everything that decides where it may be loaded.

    Attributes:
        role: Role of the graph that the engine was built from.
        precision: Precision of the graph that the engine was built from.
        backend: `tensorrt` or `tensorrt-rtx`; neither loads the other's engines.
        backend_version: Full version of the library that built the engine; only that version loads it.
        cuda_version: Major and minor version of CUDA that the library was built for.
        operating_system: `platform.system()` in lower case; an engine runs only on the system that it was built on.
        machine: `platform.machine()` where the engine was built.
        compute_capabilities: Compute capabilities that the engine was built for, such as 86.
        gpu_name: Name of the GPU that the engine was built on; None when it was built without one.
        driver_version: Version of that GPU's driver; None when the engine was built without a GPU.
        flags: Names of the builder flags that were set; TF32 is off unless named here.
        profiles: Optimization profiles in the engine's order.
        inputs: Inputs in the engine's order.
        outputs: Outputs in the engine's order.
        hop_length: Audio samples per mel frame, which sizes the output buffer.
        graph_sha256: SHA-256 of the ONNX graph that the engine was built from.
        file: File of the engine.
    """

    role: Role
    precision: Precision
    backend: Literal["tensorrt", "tensorrt-rtx"]
    backend_version: str
    cuda_version: str
    operating_system: str
    machine: str
    compute_capabilities: tuple[int, ...]
    gpu_name: str | None
    driver_version: str | None
    flags: tuple[str, ...]
    profiles: tuple[Profile, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    hop_length: HopLength
    graph_sha256: str
    file: FileEntry

    def __post_init__(self) -> None:
        """Check that every profile has a shape of the right rank for every input."""
        ranks = {tensor.name: len(tensor.shape) for tensor in self.inputs}
        for profile in self.profiles:
            if {name: len(shape) for name, shape in profile.minimum.items()} != ranks:
                raise ValueError(
                    f"the profiles of engine {self.file.path} must have a shape of the right rank for each input, "
                    f"{', '.join(ranks)}"
                )
