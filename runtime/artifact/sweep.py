"""Sweep of an artifact: what each sampler and number of steps costs and how good it is; `tune` writes it."""

from __future__ import annotations

import msgspec

from voirs_vocoder.runtime.artifact.manifest import Precision
from voirs_vocoder.runtime.artifact.measurements import read_measurements
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.errors import InputError

__all__ = ["SWEEP_PATH", "SweepPoint", "SweepReport", "read_sweep"]

SWEEP_PATH = "validation/sweep.json"
"""Path of the sweep inside an artifact."""


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Sampler with a number of steps, measured.

    Attributes:
        sampler: Name of the sampler.
        steps: Number of sampling steps; None where the sampler decides.
        rtf: Seconds of compute per second of audio, over all recordings together.
        pesq_wb: Mean PESQ over the recordings; None where it could not be measured.
        stoi: Mean STOI over the recordings; None where it could not be measured.
        lsd: Mean log-spectral distance over the recordings; None where it could not be measured.
    """

    sampler: str
    steps: int | None
    rtf: float
    pesq_wb: float | None
    stoi: float | None
    lsd: float | None


class SweepReport(msgspec.Struct, frozen=True, kw_only=True):
    """Sweep over the samplers of a diffusion model.

    Attributes:
        family: Model family of the artifact.
        variant: Variant of the artifact's model.
        precision: Precision of the graphs that were measured.
        backend: Library and version that ran the graphs.
        recordings: Number of recordings.
        speech_s: Total length of the recordings, in seconds.
        points: Measured settings, in the order of measurement.
        knee: Index in `points` of the setting with the best ratio of quality to cost.
    """

    family: str
    variant: str
    precision: Precision
    backend: str
    recordings: int
    speech_s: float
    points: tuple[SweepPoint, ...]
    knee: int


def read_sweep(artifact: Artifact) -> SweepReport | None:
    """The sweep that an artifact contains; None if it contains none.

    Args:
        artifact: Opened artifact.

    Raises:
        ArtifactError: The file of the sweep is damaged.
    """
    return read_measurements(
        artifact, SWEEP_PATH, SweepReport, refusal="not a sweep", tuner="sampler", check=_require_knee
    )


def _require_knee(sweep: SweepReport) -> None:
    if not 0 <= sweep.knee < len(sweep.points):
        raise InputError(f"knee must be the index of one of {len(sweep.points)} points, got {sweep.knee}")
