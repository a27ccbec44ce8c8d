"""Sensitivity of the layers of an INT8 artifact, and the mixes of INT8 and FP32 that were measured: table and plots."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from voirs_vocoder.calibration.layer_times import TimeModel
from voirs_vocoder.export.tuning.pictures import circle_point, new_figure, png_of
from voirs_vocoder.export.tuning.points import PointName
from voirs_vocoder.runtime.artifact.manifest import Precision, Recording
from voirs_vocoder.runtime.artifact.measurements import read_measurements
from voirs_vocoder.runtime.artifact.reading import Artifact

__all__ = [
    "SENSITIVITY_PATH",
    "SENSITIVITY_PLOT_PATH",
    "Layer",
    "MixedPoint",
    "SensitivityReport",
    "mixed_table",
    "read_sensitivity",
    "sensitivity_png",
]

SENSITIVITY_PATH = "validation/sensitivity.json"
"""Path of the report inside an artifact."""
SENSITIVITY_PLOT_PATH = "validation/sensitivity.png"
"""Path of the plot inside an artifact."""

_MAX_LAYERS, _MAX_POINTS, _MAX_NAME = 4096, 64, 1024
_SIZE_INCHES = (13.0, 9.0)
_Name = Annotated[str, Meta(max_length=_MAX_NAME)]
_Count = Annotated[int, Meta(ge=0, le=_MAX_LAYERS)]
_Positive = Annotated[float, Meta(gt=0.0)]


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """Convolutions that are INT8 or FP32 together: a single one, or those of one flow of WaveGlow.

    Attributes:
        role: Role of the graph that the layer is part of.
        name: Name of the layer.
        convolutions: Names of its convolutions.
        snr_db: Mean SNR of the final audio against FP32 where this layer alone is INT8, at most 200 dB.
        multi_resolution_stft: Multi-resolution STFT distance of that audio to FP32.
        saved_s: Seconds per second of audio that INT8 saves in this layer; negative where it takes longer.
        precision: Precision of the layer in the chosen mix.
    """

    role: _Name
    name: _Name
    convolutions: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=_MAX_LAYERS)]
    snr_db: float
    multi_resolution_stft: float
    saved_s: float
    precision: Precision


class MixedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Mix of INT8 and FP32 layers, measured.

    Attributes:
        float_layers: Number of layers in FP32: the first so many of `SensitivityReport.layers`.
        predicted_snr_db: Mean SNR that follows from the noise of single layers, in dB.
        snr_db: Mean SNR against FP32, in dB.
        multi_resolution_stft: Mean multi-resolution STFT distance to FP32.
        pesq_lost: Mean PESQ of FP32 minus mean PESQ, both against the recordings; None where it could not be measured.
        lsd: Mean log-spectral distance to the recordings; None where it could not be measured.
        rtf: Median of seconds of compute per second of audio.
        time_ratio: Median ratio of the computing time to that of FP32 in the same round.
        time_ratio_low: Lower quartile of that ratio.
        time_ratio_high: Upper quartile of that ratio.
    """

    float_layers: _Count
    predicted_snr_db: float
    snr_db: float
    multi_resolution_stft: float
    pesq_lost: float | None
    lsd: float | None
    rtf: _Positive
    time_ratio: _Positive
    time_ratio_low: _Positive
    time_ratio_high: _Positive


class SensitivityReport(msgspec.Struct, frozen=True, kw_only=True):
    """Sensitivity of all layers, and the mixes that were measured.

    Attributes:
        family: Model family of the artifact.
        variant: Variant of the artifact's model.
        backend: Library and version that ran the graphs.
        processor: Name of the processor that ran them.
        threads: Worker threads of the sessions.
        recordings: Recordings that were vocoded.
        speech_s: Total length of the excerpts that were vocoded, in seconds.
        time_model: How the time that INT8 saves was divided among layers.
        pesq_wb: Mean PESQ of FP32 against the recordings; None where it could not be measured.
        lsd: Mean log-spectral distance of FP32 to the recordings; None where it could not be measured.
        layers: All layers, in the order in which mixes leave them in FP32: those first that add the most noise for the
            time that they save.
        points: Measured mixes, in ascending order of `float_layers`.
        named: Index in `points` of each named mix.
        chosen: Index in `points` of the mix that the artifact's INT8 graphs have.
        chosen_for: What the mix was chosen for: a name, or a budget such as `snr_db >= 33`.
    """

    family: _Name
    variant: _Name
    backend: _Name
    processor: _Name
    threads: Annotated[int, Meta(ge=1)]
    recordings: Annotated[tuple[Recording, ...], Meta(min_length=1)]
    speech_s: _Positive
    time_model: TimeModel
    pesq_wb: float | None
    lsd: float | None
    layers: Annotated[tuple[Layer, ...], Meta(min_length=1, max_length=_MAX_LAYERS)]
    points: Annotated[tuple[MixedPoint, ...], Meta(min_length=1, max_length=_MAX_POINTS)]
    named: dict[PointName, _Count]
    chosen: _Count
    chosen_for: _Name

    def __post_init__(self) -> None:
        """Check that indices lead to points, and points to layers."""
        if max((self.chosen, *self.named.values())) >= len(self.points):
            raise ValueError(f"a chosen or named point must be one of {len(self.points)}")
        if max(point.float_layers for point in self.points) > len(self.layers):
            raise ValueError(f"a point must have at most {len(self.layers)} layers in FP32")

    def float_convolutions(self, point: int) -> dict[str, tuple[str, ...]]:
        """Names of the convolutions that stay float in a point, by role of the graph; every role is there.

        Args:
            point: Index in `points`.
        """
        names: dict[str, tuple[str, ...]] = {layer.role: () for layer in self.layers}
        for layer in self.layers[: self.points[point].float_layers]:
            names[layer.role] = (*names[layer.role], *layer.convolutions)
        return names


def read_sensitivity(artifact: Artifact) -> SensitivityReport | None:
    """The report that an artifact contains; None if it contains none.

    Args:
        artifact: Opened artifact.

    Raises:
        ArtifactError: The file of the report is damaged.
    """
    return read_measurements(
        artifact, SENSITIVITY_PATH, SensitivityReport, refusal="not a report of sensitivities", tuner="int8"
    )


def mixed_table(report: SensitivityReport) -> list[list[str]]:
    """The points as rows of text, the first row being the header; named points and the chosen one are marked."""
    header = ["FP32 layers", "SNR dB", "predicted", "PESQ lost", "LSD", "M-STFT", "RTF", "time of FP32", ""]
    rows = [header]
    for place, point in enumerate(report.points):
        marks: list[str] = [name for name, index in report.named.items() if index == place]
        if place == report.chosen:
            marks.append("<- INT8")
        rows.append(
            [
                str(point.float_layers),
                f"{point.snr_db:.1f}",
                f"{point.predicted_snr_db:.1f}",
                "-" if point.pesq_lost is None else f"{point.pesq_lost:+.3f}",
                "-" if point.lsd is None else f"{point.lsd:.3f}",
                f"{point.multi_resolution_stft:.3f}",
                f"{point.rtf:.4f}",
                f"{point.time_ratio:.2f}",
                " ".join(marks),
            ]
        )
    return rows


def sensitivity_png(report: SensitivityReport) -> bytes:
    """Draw the noise and the saved time of every layer, and quality against time of every measured mix.

    Args:
        report: Measured sensitivities.

    Returns:
        A PNG; the same report gives the same bytes.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(*_SIZE_INCHES)
    figure.suptitle(
        f"{report.family} {report.variant}: {len(report.recordings)} recordings, {report.speech_s:.0f} s of speech, "
        f"{report.backend} on {report.processor}, {report.threads} threads"
    )
    layers, mixes = figure.subplots(2, 1)
    _draw_layers(layers, report)
    _draw_points(mixes, report)
    return png_of(figure)


def _draw_layers(axes: Any, report: SensitivityReport) -> None:
    noise, time = axes, axes.twinx()
    places = range(len(report.layers))
    colors = ["tab:orange" if layer.precision == "fp32" else "tab:blue" for layer in report.layers]
    noise.bar(places, [layer.snr_db for layer in report.layers], color=colors)
    noise.set_ylabel("SNR of the audio where the layer alone is INT8, dB")
    noise.set_xticks(places, [layer.name for layer in report.layers], rotation=90, fontsize=6)
    noise.set_title(
        "Layers in the order in which they become FP32; orange: FP32 in the chosen mix", fontsize=9
    )
    time.plot(places, [1e3 * layer.saved_s for layer in report.layers], "k.", markersize=4)
    time.set_ylabel("dots: ms that INT8 saves per second of audio")


def _draw_points(axes: Any, report: SensitivityReport) -> None:
    plot = axes
    points = report.points
    ratios = [point.time_ratio for point in points]
    spread = [
        [point.time_ratio - point.time_ratio_low for point in points],
        [point.time_ratio_high - point.time_ratio for point in points],
    ]
    plot.errorbar(ratios, [p.snr_db for p in points], xerr=spread, marker="o", capsize=2)
    for name, place in report.named.items():
        where = (points[place].time_ratio, points[place].snr_db)
        plot.annotate(name, where, xytext=(6, -12), textcoords="offset points")
    chosen = points[report.chosen]
    circle_point(plot, chosen.time_ratio, chosen.snr_db, f"chosen: {report.chosen_for}")
    plot.set_xlabel("computing time, that of FP32 being 1; bars: quartiles")
    plot.set_ylabel("SNR against FP32, dB")
    plot.grid(visible=True, alpha=0.25)
    plot.legend(fontsize=8)
