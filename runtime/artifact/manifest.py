"""manifest.json: the one file that describes an artifact. Read strictly, written in one canonical form."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voirs_vocoder.runtime.artifact.records import (
    MAX_AXIS,
    MAX_COMMANDS,
    CommandRecord,
    EngineEntry,
    FileEntry,
    HopLength,
    Precision,
    Profile,
    Record,
    Role,
    Target,
    TensorInfo,
)
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.structured import decode_json

__all__ = [
    "BATCH_ROLES",
    "EXTRAPOLATOR_ROLE",
    "FORMAT_VERSION",
    "MAX_SEGMENTS",
    "STREAM_ROLES",
    "Calibration",
    "CalibrationSegment",
    "CommandRecord",
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
    "Role",
    "SegmentClass",
    "Source",
    "Target",
    "TensorInfo",
    "decode_manifest",
    "encode_manifest",
    "graph_name",
    "segments_sha256",
]

FORMAT_VERSION = 1

Figures = dict[str, float | int | str | bool | None]
"""Facts and measured figures by name."""

_MAX_FRAMES = 1 << 14
_MAX_STEPS = 1 << 12
_Count = Annotated[int, Meta(ge=0, le=1 << 32)]
_Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

MAX_SEGMENTS = 1 << 14
"""Largest number of calibration segments in a list."""

EXTRAPOLATOR_ROLE = "extrapolator"
"""Role of the graph that predicts the mel frames for which a low-latency stream does not wait."""

STREAM_ROLES = {"offline": "stream", "step": "stream", "conditioner": "stream-conditioner"}
"""Role of a graph to the role of the graph that computes the same chunk by chunk."""

BATCH_ROLES = {"offline": "batch", "step": "batch", "conditioner": "batch-conditioner"}
"""Role of a graph to the role of the graph that computes the same for rows of different lengths."""

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


class GraphFacts(Record, frozen=True, kw_only=True):
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
    state_size: Annotated[int, Meta(ge=0, le=MAX_AXIS)] | None = None
    low_latency_frames: Annotated[int, Meta(ge=0, le=1 << 16)] | None = None
    quantized_convolutions: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None


class GraphEntry(Record, frozen=True, kw_only=True):
    """An ONNX graph.

    Attributes:
        role: `offline`, `conditioner`, `step`, `sampler`, `stream`, `stream-conditioner`, `batch`, `batch-conditioner`
            or `extrapolator`.
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
        validation: Figures that `validate` measured on real speech, None for one that nothing could measure; None as a
            whole before `validate` has run.
    """

    role: Role
    precision: Precision
    target: Target | None
    file: FileEntry
    opset: Annotated[int, Meta(ge=1, le=1 << 10)]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    facts: GraphFacts
    details: Figures
    keep_float: dict[Precision, tuple[str, ...]] = msgspec.field(default_factory=dict)
    validation: dict[str, float | None] | None = None

    def __post_init__(self) -> None:
        """Check that a stream graph states what its streams allocate, and that no fact stands among the details."""
        facts = self.facts
        if any(tensor.dtype != "float32" for tensor in self.outputs):
            raise ValueError(f"graph {self.name} must have float32 outputs")
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


class Recording(Record, frozen=True, kw_only=True):
    """A recording or mel that ranges were calibrated on.

    Attributes:
        name: File name.
        sha256: SHA-256 of the file's bytes, in lower-case hex.
    """

    name: str
    sha256: str


SegmentClass = Literal["silence", "voiced", "unvoiced", "loud", "quiet"]
"""What a segment of speech was chosen for."""


class CalibrationSegment(Record, frozen=True, kw_only=True):
    """A part of a recording that ranges were calibrated on.

    Attributes:
        recording: SHA-256 of the recording, in lower-case hex.
        start: First mel frame.
        frames: Number of mel frames.
        chosen_for: Class that the segment was chosen for.
    """

    recording: _Sha256
    start: _Count
    frames: _Count
    chosen_for: SegmentClass


def segments_sha256(segments: Sequence[CalibrationSegment]) -> str:
    """SHA-256 of a list of segments: of one line for each, `recording start frames class`, sorted."""
    lines = sorted(f"{each.recording} {each.start} {each.frames} {each.chosen_for}\n" for each in segments)
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


class Calibration(Record, frozen=True, kw_only=True):
    """Recordings that calibrated precisions, such as INT8, were calibrated on.

    Attributes:
        recordings: Files that contributed.
        segments: Number of segments of equal length that were used.
        segment_frames: Length of a segment, in mel frames.
        segment_list: The segments; None in an artifact that was made before they were listed.
        segment_list_sha256: `segments_sha256` of the list; None without one.
    """

    recordings: tuple[Recording, ...]
    segments: _Count
    segment_frames: _Count
    segment_list: Annotated[tuple[CalibrationSegment, ...], Meta(max_length=MAX_SEGMENTS)] | None = None
    segment_list_sha256: _Sha256 | None = None

    def __post_init__(self) -> None:
        """Check that the list of segments and its hash agree."""
        found = None if self.segment_list is None else segments_sha256(self.segment_list)
        if found != self.segment_list_sha256:
            raise ValueError(
                f"segment_list_sha256 must be the hash of segment_list, {found}, got {self.segment_list_sha256}"
            )


class Source(Record, frozen=True, kw_only=True):
    """Origin of the weights.

    Attributes:
        checkpoint_sha256: SHA-256 of the checkpoint, in lower-case hex; None for a model made in memory.
        config: Model configuration as it was read.
        layout: Name of the trainer's layout that was recognized, for people; None where none was.
        configured_mel: Mel convention that the configuration states, where the export was given another one, which is
            that of the manifest; None where the configuration decided.
        normalize: Whether statistics that the trainer normalizes mels by, if it does, were taken into the graphs.
    """

    checkpoint_sha256: str | None
    config: dict[str, object]
    layout: str | None = None
    configured_mel: MelConvention | None = None
    normalize: bool = True


class Diffusion(Record, frozen=True, kw_only=True):
    """How a diffusion model was trained, and how it is sampled by default.

    Attributes:
        training_betas: Variances of the training schedule; the network receives the noise level as a step of it.
        fast_betas: Published schedule for few steps, which the sampler `fast` follows; None when there is none.
        sampler: Name of the default sampler.
        steps: Number of sampling steps of the default sampler; None for `fast`, whose schedule decides.
        drops_conditioning: Whether the network was also trained without a mel, which guidance needs.
    """

    training_betas: tuple[float, ...]
    fast_betas: tuple[float, ...] | None
    sampler: str
    steps: Annotated[int, Meta(ge=1, le=_MAX_STEPS)] | None
    drops_conditioning: bool


class Manifest(Record, frozen=True, kw_only=True):
    """An artifact.

    Attributes:
        format_version: Version of the format; a reader refuses every other one.
        family: Model family, such as `hifigan`.
        driver: Driver of the runtime that turns the graphs into audio.
        variant: Published variant of the model, such as `v2`, or `custom`.
        sample_rate: Sample rate of the audio, in Hz.
        hop_length: Audio samples per mel frame.
        mel: Mel convention of the input.
        context_frames: Number of mel frames before a frame that its audio depends on.
        look_ahead_frames: Number of mel frames after a frame that its audio depends on.
        look_ahead_samples: Look-ahead in audio samples, before it is rounded up to frames.
        source: Origin of the weights.
        licence: SPDX identifier of the weights' license; None when the export did not state it.
        diffusion: Schedules and default sampling of a diffusion model; None for other models.
        graphs: ONNX graphs.
        engines: TensorRT engines.
        calibration: Recordings that the calibrated precisions were calibrated on; None without such a precision.
        files: All other files, such as reports and the model card.
        tools: Versions of the packages that made the artifact, by package name.
        commands: Commands that made and changed the artifact, the latest at the end; empty in an artifact that was made
            before they were recorded.
    """

    format_version: int
    family: str
    driver: Literal["direct", "flow", "diffusion"]
    variant: str
    sample_rate: Annotated[int, Meta(ge=1, le=1 << 24)]
    hop_length: HopLength
    mel: MelConvention
    context_frames: Annotated[int, Meta(ge=0, le=_MAX_FRAMES)]
    look_ahead_frames: Annotated[int, Meta(ge=0, le=_MAX_FRAMES)]
    look_ahead_samples: Annotated[int, Meta(ge=0, le=1 << 24)]
    source: Source
    licence: str | None
    diffusion: Diffusion | None = None
    graphs: tuple[GraphEntry, ...]
    engines: tuple[EngineEntry, ...] = ()
    calibration: Calibration | None = None
    files: tuple[FileEntry, ...] = ()
    tools: dict[str, str]
    commands: Annotated[tuple[CommandRecord, ...], Meta(max_length=MAX_COMMANDS)] = ()

    def __post_init__(self) -> None:
        """Check that the numbers of the artifact, its mel convention and its graphs agree."""
        mel = (self.mel.sample_rate, self.mel.hop_length)
        if mel != (self.sample_rate, self.hop_length):
            raise ValueError(
                f"sample rate and hop length must be those of the mel convention, {mel}, got "
                f"{(self.sample_rate, self.hop_length)}"
            )
        # A stream runs this many frames at its end.
        longest = (max(self.look_ahead_frames, 1) + 1) * self.hop_length
        for graph in self.graphs:
            if (graph.facts.delay_samples or 0) > max(longest, self.look_ahead_samples):
                raise ValueError(
                    f"graph {graph.name} must lag by at most the look-ahead of {self.look_ahead_frames} frames, got "
                    f"{graph.facts.delay_samples} samples"
                )

    def all_files(self) -> tuple[FileEntry, ...]:
        """All files of the artifact but the manifest."""
        return (*(g.file for g in self.graphs), *(e.file for e in self.engines), *self.files)


class _Versioned(msgspec.Struct):
    format_version: int


class _GraphLayout(msgspec.Struct):
    facts: dict[str, object] | None = None


class _ManifestLayout(msgspec.Struct):
    graphs: tuple[_GraphLayout, ...] = ()


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: Bytes of manifest.json.
        where: Name of the file in errors.

    Raises:
        ArtifactError: The data is no JSON, is of another format, is of the layout before 0.1, lacks or adds fields, or
            has a value out of range.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).format_version
        if version > FORMAT_VERSION:
            raise ArtifactError(
                f"{where}: artifact format {version} is later than {FORMAT_VERSION}, the latest this version reads; "
                "update voirs-vocoder"
            )
        if version < FORMAT_VERSION:
            raise ArtifactError(
                f"{where}: the artifact format must be {FORMAT_VERSION}, got {version}; export the artifact again"
            )
        return decode_json(data, Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InputError) as error:
        if isinstance(error.__cause__ or error, msgspec.ValidationError) and _is_of_old_layout(data):
            raise ArtifactError(
                f"{where}: every graph must have `facts`, this artifact has the layout before version 0.1; export the "
                "artifact again"
            ) from error
        raise ArtifactError(f"{where}: not a manifest: {error}; export the artifact again") from error


def _is_of_old_layout(data: bytes) -> bool:
    try:
        graphs = msgspec.json.decode(data, type=_ManifestLayout).graphs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return any(graph.facts is None for graph in graphs)


def encode_manifest(manifest: Manifest) -> bytes:
    """Bytes of manifest.json: indented JSON in the order of the fields; equal manifests give equal bytes.

    Args:
        manifest: Manifest to write.
    """
    return indented_json(manifest, order="deterministic")
