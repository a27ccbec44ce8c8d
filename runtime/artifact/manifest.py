"""manifest.json: the one file that says what an artifact is. Read strictly, written in one canonical form."""

from __future__ import annotations

from typing import Literal

import msgspec

from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = [
    "EXTRAPOLATOR_ROLE",
    "FORMAT_VERSION",
    "STREAM_ROLES",
    "Calibration",
    "Diffusion",
    "EngineEntry",
    "Figures",
    "FileEntry",
    "GraphEntry",
    "Int8Target",
    "Manifest",
    "Precision",
    "Profile",
    "Recording",
    "Source",
    "TensorInfo",
    "decode_manifest",
    "encode_manifest",
]

FORMAT_VERSION = 1

Precision = Literal["fp32", "fp16", "int8"]
Int8Target = Literal["cpu", "tensorrt"]
Figures = dict[str, float | int | str | bool | None]

EXTRAPOLATOR_ROLE = "extrapolator"
"""Of the graph that guesses the mel frames which a low-latency stream cannot await."""

STREAM_ROLES = {"offline": "stream", "step": "stream", "conditioner": "stream-conditioner"}
"""Role of a graph to that of the graph which does the same chunk by chunk."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything in a manifest: immutable, named fields, no unknown ones."""


class FileEntry(_Record, frozen=True, kw_only=True):
    """A file of the artifact.

    Attributes:
        path: Relative to the artifact, with forward slashes.
        sha256: Of its bytes, lower-case hex.
        size_bytes: Its length.
    """

    path: str
    sha256: str
    size_bytes: int


class TensorInfo(_Record, frozen=True, kw_only=True):
    """A graph's input or output: name, element type, and per axis a size or the name of a dynamic one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GraphEntry(_Record, frozen=True, kw_only=True):
    """An ONNX graph.

    Attributes:
        role: `offline`, `stream`, `stream-conditioner`, `conditioner`, `step`, `sampler`, `batch` or `extrapolator`.
        precision: `fp32`, `fp16` or `int8`.
        target: Where an INT8 graph is meant to run; None for the other precisions.
        file: Where it lies.
        opset: ONNX opset version.
        inputs: In order.
        outputs: In order.
        details: What was decided and measured when the graph was made (largest difference from PyTorch, nodes
            left float, ...).
        keep_float: Precision to patterns of the nodes that must stay float in it; only FP32 graphs, from which the
            others are made, state it.
        validation: Measured by `validate` on real speech; None when it has not been.
    """

    role: str
    precision: Precision
    target: Int8Target | None
    file: FileEntry
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    details: Figures
    keep_float: dict[str, tuple[str, ...]] = {}
    validation: Figures | None = None

    @property
    def name(self) -> str:
        """Role, precision and target, joined by dots: `offline.int8.cpu`."""
        return ".".join(part for part in (self.role, self.precision, self.target) if part)


class Profile(_Record, frozen=True, kw_only=True):
    """An optimization profile: for each input its smallest, best and largest shape."""

    minimum: dict[str, tuple[int, ...]]
    optimum: dict[str, tuple[int, ...]]
    maximum: dict[str, tuple[int, ...]]


class EngineEntry(_Record, frozen=True, kw_only=True):
    """A TensorRT engine, with everything that decides where it may be loaded.

    Attributes:
        role: Of the graph that it was built from.
        precision: Of that graph.
        backend: `tensorrt` or `tensorrt-rtx`; neither loads the other's engines.
        backend_version: Full version of the library that built it; the same is needed to load it.
        cuda_version: Major and minor version that the library was built for.
        operating_system: As in `platform.system()`, lower case; engines do not travel between systems.
        machine: As in `platform.machine()`.
        compute_capabilities: The GPUs that it was built for, such as 86.
        gpu_name: The GPU that it was built on; None when it was built without one.
        driver_version: Of that GPU's driver; None likewise.
        flags: Builder flags that were set, by name; TF32 is not among them unless named.
        profiles: In the engine's order.
        inputs: In order.
        outputs: In order.
        hop_length: Audio samples per mel frame, which sizes the output buffer.
        graph_sha256: Of the ONNX graph that it was built from.
        file: Where it lies.
    """

    role: str
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
    hop_length: int
    graph_sha256: str
    file: FileEntry


class Recording(_Record, frozen=True, kw_only=True):
    """A recording or mel that ranges were calibrated on: its file name and the hash of its bytes."""

    name: str
    sha256: str


class Calibration(_Record, frozen=True, kw_only=True):
    """What the INT8 ranges were measured on.

    Attributes:
        recordings: Every file that contributed.
        segments: How many equal segments were used.
        segment_frames: Their length in mel frames.
    """

    recordings: tuple[Recording, ...]
    segments: int
    segment_frames: int


class Source(_Record, frozen=True, kw_only=True):
    """Where the weights came from: the checkpoint's hash and the model configuration."""

    checkpoint_sha256: str | None
    config: dict[str, object]


class Diffusion(_Record, frozen=True, kw_only=True):
    """How a diffusion model was trained, and how it is sampled unless the caller says otherwise.

    Attributes:
        training_betas: Variances of the training schedule, in whose steps the network is told the noise level.
        fast_betas: The published schedule for few steps, which the sampler `fast` follows; None when there is none.
        sampler: The default.
        steps: Its number of steps; None for `fast`, whose schedule says it.
        drops_conditioning: Whether the network was also trained without a mel, which guidance needs.
    """

    training_betas: tuple[float, ...]
    fast_betas: tuple[float, ...] | None
    sampler: str
    steps: int | None
    drops_conditioning: bool


class Manifest(_Record, frozen=True, kw_only=True):
    """An artifact.

    Attributes:
        format_version: Of this file; a reader refuses a later one.
        family: Such as `hifigan`.
        driver: Which of the runtime's drivers turns the graphs into audio.
        variant: Such as `v2`, or `custom`.
        sample_rate: Of the audio, in Hz.
        hop_length: Audio samples per mel frame.
        mel: The convention of the input.
        context_frames: Mel frames of past that a frame's audio depends on.
        look_ahead_frames: Mel frames of future likewise.
        look_ahead_samples: The same in audio samples, before rounding up.
        source: Where the weights came from.
        licence: SPDX identifier of the weights' licence, or None when whoever exported did not say.
        diffusion: Of a diffusion model; None for the others.
        graphs: ONNX graphs.
        engines: TensorRT engines.
        calibration: What INT8 was calibrated on; None without INT8.
        files: Every other file (reports, the model card).
        tools: Versions of what made the artifact, by package name.
    """

    format_version: int
    family: str
    driver: Literal["direct", "flow", "diffusion"]
    variant: str
    sample_rate: int
    hop_length: int
    mel: MelConvention
    context_frames: int
    look_ahead_frames: int
    look_ahead_samples: int
    source: Source
    licence: str | None
    diffusion: Diffusion | None = None
    graphs: tuple[GraphEntry, ...]
    engines: tuple[EngineEntry, ...] = ()
    calibration: Calibration | None = None
    files: tuple[FileEntry, ...] = ()
    tools: dict[str, str]

    def all_files(self) -> tuple[FileEntry, ...]:
        """Every file that the artifact consists of, besides the manifest."""
        return (*(g.file for g in self.graphs), *(e.file for e in self.engines), *self.files)


class _Versioned(msgspec.Struct):
    format_version: int


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: The file's bytes.
        where: Named in errors.

    Raises:
        ArtifactError: It is not JSON, of a later format, or lacks or adds fields.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).format_version
        if version > FORMAT_VERSION:
            raise ArtifactError(
                f"{where}: artifact format {version} is later than {FORMAT_VERSION}, the latest this version reads; "
                "update voirs-vocoder"
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: not a manifest: {error}; export the artifact again") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes: indented JSON in the order of the fields; the same manifest gives the same bytes."""
    return indented_json(manifest, order="deterministic")
