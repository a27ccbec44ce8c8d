"""manifest.json: the one file that describes an artifact. Read strictly, written in one canonical form."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

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
    "GraphFacts",
    "Manifest",
    "Precision",
    "Profile",
    "Recording",
    "Source",
    "Target",
    "TensorInfo",
    "decode_manifest",
    "encode_manifest",
    "graph_name",
]

FORMAT_VERSION = 1

Precision = Annotated[str, Meta(pattern="^[a-z][a-z0-9]{1,15}$")]
"""Name of a precision, such as `fp32`, `fp16` or `int8`; which of them an artifact holds, its graphs state."""

Target = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{1,31}$")]
"""Name of the kind of backend that a graph is made for, such as `cpu` or `tensorrt` of the INT8 graphs."""

Figures = dict[str, float | int | str | bool | None]

EXTRAPOLATOR_ROLE = "extrapolator"
"""Role of the graph that predicts the mel frames for which a low-latency stream does not wait."""

STREAM_ROLES = {"offline": "stream", "step": "stream", "conditioner": "stream-conditioner"}
"""Role of a graph to the role of the graph that computes the same chunk by chunk."""

# What earlier layouts kept among the details of a graph.
_MOVED_DETAILS = frozenset(
    {
        "activation_bytes_per_frame",
        "delay_samples",
        "state_size",
        "low_latency_frames",
        "quantized_convolutions",
    }
)


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


class GraphFacts(_Record, frozen=True, kw_only=True):
    """What the runtime and export must know of a graph; the bounds keep a manifest from sizing memory without limit.

    Attributes:
        activation_bytes_per_frame: Bytes of activations per mel frame, which size windows and chunks; None for a graph
            that does not run in windows.
        delay_samples: Audio samples by which the output of a stream graph lags its input; None for other graphs.
        state_size: Float32 values of a stream graph's state per utterance; None for other graphs.
        low_latency_frames: Look-ahead in mel frames that `tune` measured to lose little quality; None before that, and
            for graphs that are not streams.
        quantized_convolutions: Number of convolutions that are quantized, 0 for a graph of a reduced precision that is
            really float; None where nothing was quantized.
    """

    activation_bytes_per_frame: Annotated[int, Meta(ge=1, le=1 << 34)] | None = None
    delay_samples: Annotated[int, Meta(ge=0, le=1 << 24)] | None = None
    state_size: Annotated[int, Meta(ge=0, le=1 << 27)] | None = None
    low_latency_frames: Annotated[int, Meta(ge=0, le=1 << 16)] | None = None
    quantized_convolutions: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None


class GraphEntry(_Record, frozen=True, kw_only=True):
    """An ONNX graph.

    Attributes:
        role: `offline`, `stream`, `stream-conditioner`, `conditioner`, `step`, `sampler`, `batch` or `extrapolator`.
        precision: Name of the precision, such as `fp32`, `fp16` or `int8`.
        target: Kind of backend that the graph is made for, of a precision with one graph per kind, such as `cpu` of
            INT8; None for a precision whose graphs run everywhere.
        file: Path, hash and size of the graph's file.
        opset: ONNX opset version.
        inputs: Inputs in the graph's order.
        outputs: Outputs in the graph's order.
        facts: What the runtime must know to run the graph.
        details: What was decided and measured when the graph was made (largest difference from PyTorch, nodes left
            float), for people to read.
        keep_float: Precision to patterns of the nodes that must stay float in it; only FP32 graphs, from which the
            others are made, state it.
        validation: Figures that `validate` measured on real speech; None when it has not run.
    """

    role: str
    precision: Precision
    target: Target | None
    file: FileEntry
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    facts: GraphFacts
    details: Figures
    keep_float: dict[str, tuple[str, ...]] = {}
    validation: Figures | None = None

    def __post_init__(self) -> None:
        """Check that a stream graph states what its streams allocate, and that no fact stands among the details."""
        facts = self.facts
        if self.role in STREAM_ROLES.values() and None in (facts.delay_samples, facts.state_size):
            raise ValueError(f"graph {self.name} must state delay_samples and state_size in its facts")
        moved = sorted(_MOVED_DETAILS & self.details.keys())
        if moved:
            raise ValueError(
                f"graph {self.name} has {moved[0]} among its details, the layout before version 0.1"
            )

    @property
    def name(self) -> str:
        """Role, precision and target joined by dots, such as `offline.int8.cpu`."""
        return graph_name(self.role, self.precision, self.target)


def graph_name(*parts: str | None) -> str:
    """A graph's name from its role, precision and target, joined by dots; parts that are None are left out."""
    return ".".join(part for part in parts if part)


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
