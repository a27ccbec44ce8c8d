"""Settings of a caller: how a session runs, and how an utterance is synthesized."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, get_args

from voirs_vocoder.runtime.drivers.settings import (
    DiffusionSettings,
    DriverSettings,
    FlowSettings,
    UtteranceSettings,
    declared_settings,
    setting,
)
from voirs_vocoder.runtime.errors import InputError

__all__ = ["OPTIONAL_SETTINGS", "Batching", "SessionConfig", "VocodingConfig", "default_threads"]

Batching = Literal["auto", "together", "alone"]
"""How a batch runs; see `SessionConfig.batching`."""

_MAX_BUCKET_FRAMES = 1 << 16
_MAX_STREAM_ROWS = 256
_MAX_PARALLEL_RUNS = 64
_CPU_ACTIVATION_BYTES = 48 << 20
_GPU_ACTIVATION_BYTES = 512 << 20
_GPU_SHARE = 4
_LEAST_ACTIVATION_BYTES = 1 << 20


def default_threads() -> int | None:
    """Number of worker threads that the environment variable OMP_NUM_THREADS asks for.

    None, where the variable is not set to a number, leaves the number to the backend, which takes one per core.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None


@dataclass(frozen=True)
class SessionConfig:
    """How a backend runs a graph.

    Attributes:
        threads: Number of worker threads; None takes `default_threads()`.
        spinning: Whether idle threads of ONNX Runtime spin for a moment. Spinning is faster when nothing else runs on
            the machine; turn it off on a shared host.
        activation_budget_bytes: Memory for the intermediate results of a graph in FP32, at least 1 MiB; long input is
            cut into windows that need about this much. None takes 48 MiB on a CPU, and on a GPU a quarter of its free
            memory, 512 MiB at most.
        device_budget_bytes: Memory of a GPU, at least 1 MiB, that all prepared shapes of one graph may take; those that
            were not used for longest are dropped beyond it.
        cuda_graphs: Whether the providers `cuda`, `tensorrt` and `tensorrt-rtx` record the kernels of each prepared
            shape and play them back at once, which is several times faster. Turn it off where other threads of the
            process use CUDA on their own, such as PyTorch: while kernels are recorded, no other thread may allocate
            memory on a GPU.
        tf32: Whether the provider `cuda` may round the factors of FP32 graphs to TF32, which has 10 bits of mantissa
            and is faster. False computes in FP32; other providers refuse True. ONNX Runtime has no such choice for
            TensorRT: `tensorrt`, and perhaps `tensorrt-rtx`, computes in TF32 unless `NVIDIA_TF32_OVERRIDE=0` is in
            the environment.
        bf16_floats: Whether the provider `openvino` may round to BF16 what an INT8 graph leaves in floats, on a CPU
            with BF16 instructions: 0.77 of the time of HiFi-GAN V1 there, for 0.4 dB of its SNR. False computes it in
            FP32; other providers and precisions refuse True.
        gpu_tuning: File of the fastest choices per shape on this kind of GPU, which `voirs-vocoder tune --only gpu`
            writes, for the provider `cuda`; None takes the defaults.
        engine_cache: Folder in which the providers `tensorrt` and `tensorrt-rtx` keep what they compile for each graph
            and shape, so that loading it again takes seconds; made where it is missing. It holds machine code of this
            GPU: use a folder that nobody else can write to. None keeps nothing.
        device: Index of the GPU, at least 0; ignored on a CPU.
        batching: How `vocode_batch` runs utterances: `together` in the artifact's batch graph, or `alone`, one after
            the other. `auto` uses what is faster: `alone` on a CPU, where a run of eight utterances takes as long as
            eight runs; `together` on a GPU where the artifact has a batch graph. The audio is equal.
        buckets: Lengths in mel frames, each at least 1, of the few shapes in which inputs of any length run: padded to
            the next longer one, which does not change the audio, and longer input in windows. An empty tuple runs every
            input in its own shape. None takes powers of two times 32 (off a GPU, three lengths between each two as
            well), up to what the memory budget allows, on a provider that prepares every new shape before it runs it
            (all but `cpu`), and none elsewhere.
        stream_rows: Most live streams that run together, as rows of one run of a graph, in [1, 256]: chunks that arrive
            while a run is under way form the next one. 1 runs each stream by itself. The audio is equal. For many
            streams on a GPU, which one stream leaves idle. Streams without `StreamingConfig.chunk_frames`, adaptive
            ones, and those with a latency setting run by themselves.
        parallel_runs: Number of utterances that `vocode_batch` runs at the same time where it runs them one by one, in
            [1, 64], each on `threads` threads and all over one copy of the weights; threads of the caller's own may run
            as many. Above 1 for the providers `cpu` and `openvino` only. As many as there are cores, with `threads` at
            1, vocode a batch in the least time. The audio is equal.
        warm: Whether all buckets are prepared when the artifact is loaded, so that no later input waits for it; a tuple
            prepares those that hold inputs of these lengths in mel frames. A stream prepares its chunks when it opens.

    Raises:
        InputError: A value is out of range.
    """

    threads: int | None = None
    spinning: bool = True
    activation_budget_bytes: int | None = None
    device_budget_bytes: int = 1 << 30
    cuda_graphs: bool = True
    tf32: bool = False
    bf16_floats: bool = False
    gpu_tuning: Path | str | None = None
    device: int = 0
    batching: Batching = "auto"
    buckets: tuple[int, ...] | None = None
    warm: bool | tuple[int, ...] = False
    stream_rows: int = 1
    parallel_runs: int = 1
    engine_cache: Path | str | None = None

    def __post_init__(self) -> None:
        """Check that each value is in its range."""
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InputError(f"threads must be between 1 and 1024, got {self.threads}")
        for name in ("activation_budget_bytes", "device_budget_bytes"):
            value = getattr(self, name)
            if value is not None and value < _LEAST_ACTIVATION_BYTES:
                raise InputError(f"{name} must be at least 1 MiB, got {value}")
        if self.batching not in get_args(Batching):
            raise InputError(
                f"batching must be one of {', '.join(get_args(Batching))}, got {self.batching!r}"
            )
        if self.device < 0:
            raise InputError(f"device must not be negative, got {self.device}")
        if not 1 <= self.stream_rows <= _MAX_STREAM_ROWS:
            raise InputError(f"stream_rows must be between 1 and {_MAX_STREAM_ROWS}, got {self.stream_rows}")
        if not 1 <= self.parallel_runs <= _MAX_PARALLEL_RUNS:
            raise InputError(
                f"parallel_runs must be between 1 and {_MAX_PARALLEL_RUNS}, got {self.parallel_runs}"
            )
        _check_lengths("buckets", self.buckets or ())
        _check_lengths("warm", () if isinstance(self.warm, bool) else self.warm)

    def activation_bytes(self, *, on_gpu: bool, free_bytes: int | None = None) -> int:
        """Memory for the intermediate results of a graph, in bytes.

        Args:
            on_gpu: Whether the graph runs on a GPU, which decides where `activation_budget_bytes` is None.
            free_bytes: Free memory of the GPU; None where it is not known.
        """
        if self.activation_budget_bytes is not None:
            return self.activation_budget_bytes
        if not on_gpu:
            return _CPU_ACTIVATION_BYTES
        share = _GPU_ACTIVATION_BYTES if free_bytes is None else free_bytes // _GPU_SHARE
        return max(_LEAST_ACTIVATION_BYTES, min(share, _GPU_ACTIVATION_BYTES))


def _check_lengths(name: str, lengths: tuple[int, ...]) -> None:
    for frames in lengths:
        if not 1 <= frames <= _MAX_BUCKET_FRAMES:
            raise InputError(
                f"{name} must be lengths between 1 and {_MAX_BUCKET_FRAMES} mel frames, got {frames}"
            )


@dataclass(frozen=True)
class VocodingConfig(DiffusionSettings, FlowSettings, UtteranceSettings):
    """How one utterance is synthesized.

    A setting that belongs to one kind of model must be left at None for the others.

    Raises:
        InputError: A value has another type, is out of range, or is not among the choices.
    """

    group: ClassVar[str] = "Speech"

    speed: float = field(
        default=1.0,
        metadata=setting(
            help="Speaking rate relative to that of the mel", remark="2 halves the length.", low=0.5, high=2.0
        ),
    )
    pitch_semitones: float = field(
        default=0.0,
        metadata=setting(
            help="Change of pitch in semitones", remark="The formants move along.", low=-12.0, high=12.0
        ),
    )
    energy_db: float = field(
        default=0.0, metadata=setting(help="Gain on the audio in dB", low=-60.0, high=24.0)
    )

    def __post_init__(self) -> None:
        """Check the types, ranges and choices."""
        for declared in _SETTINGS:
            declared.check(getattr(self, declared.name))

    @property
    def without_prosody(self) -> VocodingConfig:
        """These settings with the speed, pitch and energy of the mel."""
        return replace(self, speed=1.0, pitch_semitones=0.0, energy_db=0.0)


_SETTINGS = declared_settings(VocodingConfig)


def _attribute_lines() -> str:
    lines = []
    for declared in _SETTINGS:
        unset = f" None stands for {declared.setting.unset}." if declared.default is None else ""
        lines.append(f"        {declared.name}: {declared.setting.text}{unset}")
    return "\n".join(lines)


if VocodingConfig.__doc__ is not None:  # python -OO drops docstrings
    VocodingConfig.__doc__ = VocodingConfig.__doc__.replace(
        "    Raises:\n", f"    Attributes:\n{_attribute_lines()}\n\n    Raises:\n"
    )

OPTIONAL_SETTINGS = tuple(
    declared.name
    for declared in _SETTINGS
    if issubclass(declared.owner, DriverSettings) and declared.owner is not VocodingConfig
)
"""Fields of `VocodingConfig` that only some drivers read; for the others they must be None."""
