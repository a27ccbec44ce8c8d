"""The settings that `voirs-vocoder tune --only machine` measured: which were best on which processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import msgspec

from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.artifact.measurements import read_measurements
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.machine import Processor, read_processor
from voirs_vocoder.runtime.providers import target_of

__all__ = [
    "OBJECTIVES",
    "TUNED_PATH",
    "MeasuredSetting",
    "Objective",
    "Setting",
    "TunedMachine",
    "TunedMachines",
    "read_tuned",
    "tuned_graphs",
    "tuned_setting",
]

Objective = Literal["latency", "throughput", "memory"]
"""What a setting is best at: `latency`, the time for one utterance; `throughput`, the audio per second of a batch;
`memory`, the peak of a process."""
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

TUNED_PATH = "validation/tuned.json"
"""Path of the measurements inside an artifact."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=1024)]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How an artifact is loaded.

    Attributes:
        provider: Name of the provider.
        precision: Precision of the graphs.
        threads: Worker threads of a run.
        parallel_runs: Number of utterances of a batch that run at the same time.
        in_own_shape: Whether every input runs in its own shape (`SessionConfig.buckets` is empty); False runs inputs in
            the provider's default buckets, where it has some.
        bf16_floats: Whether what the INT8 graphs leave in floats is rounded to BF16 (`SessionConfig.bf16_floats`).
    """

    provider: str
    precision: Precision
    threads: _Count
    parallel_runs: _Count = 1
    in_own_shape: bool = False
    bf16_floats: bool = False

    def titled(self, graphs: str) -> str:
        """What tables call graphs in this setting, such as `int8 + bf16`.

        Args:
            graphs: Precision or name of the graphs, such as `int8`.
        """
        return f"{graphs} + bf16" if self.bf16_floats else graphs

    @property
    def session(self) -> SessionConfig:
        """The configuration of the session."""
        return SessionConfig(
            threads=self.threads,
            parallel_runs=self.parallel_runs,
            buckets=() if self.in_own_shape else None,
            bf16_floats=self.bf16_floats,
        )


class MeasuredSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting, measured.

    Attributes:
        setting: The setting.
        graphs: SHA-256 of each graph that an offline pass runs.
        backend: Library and version that ran the graphs.
        latency_ms: Time to vocode one utterance of three seconds or less, median of the rounds; None where it was not
            measured.
        latency_spread_ms: First and third quartile of that time; None where it was not measured.
        throughput: Seconds of audio per second of a batch of two such utterances per thread, median of the rounds; None
            where it was not measured.
        throughput_spread: First and third quartile of that figure; None where it was not measured.
        peak_bytes: Peak resident memory of a process that loads the artifact and vocodes, in bytes; None where it was
            not measured.
        snr_db: SNR against the FP32 graph on the provider `cpu`, over all recordings; None for equal audio.
        pesq_lost: Mean PESQ that is lost against that graph; None where it was not measured.
        refused: Why the setting was not chosen, such as a gate of quality that it misses; empty where it may be chosen.
    """

    setting: Setting
    graphs: tuple[str, ...]
    backend: str
    latency_ms: float | None = None
    latency_spread_ms: tuple[float, float] | None = None
    throughput: float | None = None
    throughput_spread: tuple[float, float] | None = None
    peak_bytes: int | None = None
    snr_db: float | None = None
    pesq_lost: float | None = None
    refused: str = ""


class TunedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one kind of machine.

    Attributes:
        processor: Name of the processor.
        usable_threads: Number of logical processors that the measuring process could use.
        date: Day of the measurement, such as `2026-01-31`, in UTC.
        recordings: Number of recordings.
        speech_s: Total length of the recordings, in seconds.
        settings: Every setting that was tried.
        best: Objective to the index in `settings` of the setting that is best at it.
    """

    processor: str
    usable_threads: int
    date: str
    recordings: int
    speech_s: float
    settings: tuple[MeasuredSetting, ...]
    best: dict[Objective, int]


class TunedMachines(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of an artifact, on every kind of machine.

    Attributes:
        machines: The machines, each kind once.
    """

    machines: tuple[TunedMachine, ...] = ()

    def with_machine(self, machine: TunedMachine) -> TunedMachines:
        """These measurements with those of a machine, which replace earlier ones of its kind."""
        kept = tuple(each for each in self.machines if _key(each) != _key(machine))
        return TunedMachines(machines=(*kept, machine))


def read_tuned(artifact: Artifact) -> TunedMachines:
    """The measurements that an artifact contains; none if it contains no file of them.

    Args:
        artifact: Opened artifact.

    Raises:
        ArtifactError: The file is damaged.
    """
    found = read_measurements(
        artifact,
        TUNED_PATH,
        TunedMachines,
        refusal="no tuned settings",
        tuner="machine",
        check=_require_settings,
    )
    return TunedMachines() if found is None else found


def tuned_setting(artifact: Artifact, objective: str, processor: Processor | None = None) -> Setting:
    """The setting that was best on machines of this kind.

    Args:
        artifact: Opened artifact.
        objective: One of `OBJECTIVES`.
        processor: The processor to choose for; None takes that of this machine.

    Raises:
        InputError: The objective is unknown; or the artifact was not tuned on this kind of machine, or before its
            graphs changed.
        ArtifactError: The file of the measurements is damaged.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"tuned must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    here = processor or read_processor()
    machines = read_tuned(artifact).machines
    found = next((each for each in machines if _key(each) == (here.name, here.threads)), None)
    remedy = "run voirs-vocoder tune DIR --speech SPEECH --only machine here"
    if found is None:
        known = _listed([f"{each.processor} with {each.usable_threads} threads" for each in machines])
        raise InputError(
            f"{artifact.root}: must have been tuned on this processor, {here.name} with {here.threads} threads, got "
            f"{known}; {remedy}"
        )
    place = found.best.get(objective)
    if place is None:
        raise InputError(
            f"{artifact.root}: the tuning of {found.date} chose no setting for {objective}; {remedy}"
        )
    measured = found.settings[place]
    setting = measured.setting
    if measured.graphs != tuned_graphs(artifact, setting.precision, setting.provider):
        raise InputError(
            f"{artifact.root}: the graphs of precision {setting.precision} must be those that were tuned on "
            f"{found.date}, they have changed; {remedy}"
        )
    return setting


def tuned_graphs(artifact: Artifact, precision: Precision, provider: str) -> tuple[str, ...]:
    """SHA-256 of each graph that an offline pass of a precision runs on a provider.

    Args:
        artifact: Opened artifact.
        precision: Precision of the graphs.
        provider: Name of the provider.

    Raises:
        ProviderError: The artifact has no such graphs, or the provider runs none of them.
    """
    target = target_of(artifact, precision, provider)
    return tuple(
        artifact.graph(role, precision, target).file.sha256 for role in driver_roles(artifact.manifest.driver)
    )


def _require_settings(tuned: TunedMachines) -> None:
    for machine in tuned.machines:
        for place in machine.best.values():
            if not 0 <= place < len(machine.settings):
                raise InputError(
                    f"best must be an index of one of {len(machine.settings)} settings, got {place}"
                )


def _key(machine: TunedMachine) -> tuple[str, int]:
    return machine.processor, machine.usable_threads


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no tuning at all"
