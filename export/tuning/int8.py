"""Tuning of INT8: which layers are INT8 and which FP32, chosen by the noise of the final audio and the time saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.calibration.dataset import CalibrationSet, calibration_set_from_folder
from voirs_vocoder.export.artifact.change import Change, change_artifact
from voirs_vocoder.export.artifact.provenance import command_record
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.export.derive import calibration_record
from voirs_vocoder.export.graphs.reduced import KEEP_ALL
from voirs_vocoder.export.precisions import MakeOptions
from voirs_vocoder.export.quantize import quantization
from voirs_vocoder.export.tuning.int8_report import (
    SENSITIVITY_PATH,
    SENSITIVITY_PLOT_PATH,
    Layer,
    MixedPoint,
    SensitivityReport,
    sensitivity_png,
)
from voirs_vocoder.export.tuning.int8_trials import (
    MixedTrials,
    Part,
    excerpt,
    noise_of,
    snr_of,
    vocode,
)
from voirs_vocoder.export.tuning.points import PointName
from voirs_vocoder.export.validation.means import mean_figures
from voirs_vocoder.export.validation.speech import Speech, load_speech
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.config import default_threads
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.machine import read_processor
from voirs_vocoder.runtime.metrics import measure
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["Budget", "BudgetKind", "TunedInt8", "int8_problem", "record_int8", "tune_int8"]

BudgetKind = Literal["snr_db", "pesq_lost", "time_ratio"]
"""What a budget limits: `snr_db` at least so many dB of SNR against FP32, `pesq_lost` at most so much PESQ lost, and
`time_ratio` at most so much computing time, that of FP32 being 1."""

# Of each recording, in seconds. One-pass models are fast enough for whole sentences.
_EXCERPT_S = {"direct": 6.0, "flow": 3.0, "diffusion": 3.0}
# Mixes that are measured, spread evenly over the predicted SNR up to that of the most faithful one, or to 40 dB.
_GRID = 7
_MOST_DB = 40.0
# Where HiFi-GAN V2 loses no more PESQ than PESQ resolves.
_FAITHFUL_DB = 33.0
_FIGURES = ("pesq_wb", "lsd")


@dataclass(frozen=True)
class Budget:
    """The limit within which the best mix is chosen.

    Attributes:
        kind: What is limited.
        limit: The limit, in the unit of its kind.
    """

    kind: BudgetKind
    limit: float

    def __str__(self) -> str:
        return f"{self.kind} {'>=' if self.kind == 'snr_db' else '<='} {self.limit:g}"

    def kept_by(self, point: MixedPoint) -> bool:
        """Whether a measured mix is within the limit; one whose figure is unknown is not."""
        value: float | None = getattr(point, self.kind)
        if value is None:
            return False
        return value >= self.limit if self.kind == "snr_db" else value <= self.limit


@dataclass(frozen=True, eq=False)
class TunedInt8:
    """A finished search, and what the artifact's INT8 graphs are to be made of.

    Attributes:
        report: What was measured and chosen.
        calibration: What INT8 was calibrated on.
        config: How INT8 was quantized, without the choice of layers.
    """

    report: SensitivityReport
    calibration: CalibrationSet
    config: Int8Config


def int8_problem(manifest: Manifest) -> str | None:
    """Why an artifact has no layers to choose INT8 for; None if it has some.

    Args:
        manifest: Manifest of the artifact.
    """
    if any(graph.keep_float.get("int8", KEEP_ALL) != KEEP_ALL for graph in manifest.graphs):
        return None
    return f"only a model with convolutions that may leave FP32 has layers to choose, this {manifest.family} has none"


def tune_int8(
    root: Path,
    speech: Path,
    calibration: Path,
    *,
    goal: Budget | PointName = "balanced",
    threads: int | None = None,
    progress: Progress = silent,
) -> TunedInt8:
    """Measure the sensitivity of every layer on the final audio, and mixes of INT8 and FP32 layers, on the CPU.

    One layer at a time is INT8 while the others are FP32: noise of different layers is nearly uncorrelated, so these
    energies add up, and one pass per layer predicts every mix. Mixes leave those layers in FP32 first that add the most
    noise for the time that they save. Some of these mixes are made, vocoded and timed in turns. Ranges, rounding and
    bias correction are those of the artifact's INT8 graphs.

    Args:
        root: Directory of the artifact, which is not changed.
        speech: Folder of recordings, none of which is in `calibration`; excerpts of them are vocoded.
        calibration: Folder of recordings or mels to calibrate on.
        goal: Name of a mix, or a budget: the fastest mix within a budget of quality, the one with the highest SNR
            within a budget of time.
        threads: Worker threads of the sessions; None takes the number that OMP_NUM_THREADS states, or one per core.
        progress: Receives what is being done, the number of its parts that are done, and the number of parts.

    Raises:
        InputError: The model has no layers to choose, recordings cannot be used, PESQ is needed and not installed, or
            no mix is within the budget.
        ArtifactError: The artifact is damaged.
        ProviderError: A graph cannot be run.
    """
    artifact = Artifact.open(root)
    manifest = artifact.manifest
    problem = int8_problem(manifest)
    if problem is not None:
        raise InputError(f"{root}: {problem}")
    calibrated = calibration_set_from_folder(calibration, manifest.mel, progress=progress)
    recorded = msgspec.structs.replace(manifest, calibration=calibration_record(calibrated))
    utterances = [
        excerpt(each, _EXCERPT_S[manifest.driver], manifest) for each in load_speech(speech, recorded)
    ]
    processor = read_processor()
    config = _config_of(manifest)
    used_threads = threads or default_threads() or processor.threads
    trials = MixedTrials(artifact, list(calibrated.segments), config, utterances, used_threads, progress)
    search = _Search(trials, utterances, manifest, progress)
    if isinstance(goal, Budget) and goal.kind == "pesq_lost" and search.fp32["pesq_wb"] is None:
        raise InputError(missing_package("judging a budget of PESQ", "pesq", "eval"))
    search.measure(search.grid())
    search.narrow(Budget("snr_db", _FAITHFUL_DB))
    if isinstance(goal, Budget):
        search.narrow(goal)
    points = search.points()
    named = _named(points)
    chosen = _within(points, goal) if isinstance(goal, Budget) else named[goal]
    report = SensitivityReport(
        family=manifest.family,
        variant=manifest.variant,
        backend=trials.backend,
        processor=processor.name,
        threads=used_threads,
        recordings=tuple(each.recording for each in utterances),
        speech_s=sum(each.samples.size for each in utterances) / manifest.sample_rate,
        time_model=search.time_model,
        pesq_wb=search.fp32["pesq_wb"],
        lsd=search.fp32["lsd"],
        layers=search.layers(points[chosen].float_layers),
        points=tuple(points),
        named=named,
        chosen=chosen,
        chosen_for=str(goal),
    )
    progress("measured", 1, 1)
    return TunedInt8(report, calibrated, config)


def record_int8(root: Path, tuned: TunedInt8, progress: Progress = silent) -> Artifact:
    """Replace the INT8 graphs of the artifact by those of the chosen mix, and write report and plot into it.

    Graphs for TensorRT and OpenVINO leave the same layers in FP32 as those for the CPU. `GraphEntry.details` names the
    layers in `float_by_choice`, from which `Int8Config.float_convolutions` makes the same graphs.

    Args:
        root: Directory of the artifact.
        tuned: Finished search on that artifact.
        progress: Receives what is being done, the number of its parts that are done, and the number of parts.

    Returns:
        The changed artifact.

    Raises:
        ArtifactError: The artifact is damaged or another process is changing it.
        InputError: matplotlib is not installed, or the artifact cannot be written.
        ExportError: A stream or batch of the mix does not equal its offline graph.
    """
    report = tuned.report
    files = {SENSITIVITY_PATH: indented_json(report), SENSITIVITY_PLOT_PATH: sensitivity_png(report)}
    names = report.float_convolutions(report.chosen)

    def edit(artifact: Artifact) -> Change:
        held = {graph.target for graph in artifact.manifest.graphs if graph.precision == "int8"}
        targets = tuple(target for target in ("cpu", "tensorrt") if target in held) or None
        options = MakeOptions(targets=targets, int8=tuned.config, float_convolutions=names)
        manifest, graphs = quantization(artifact, tuned.calibration, "int8", options, progress)
        return with_files(manifest, files), {**graphs, **files}

    options = MakeOptions(int8=tuned.config, float_convolutions=names)
    record = command_record(
        "tune",
        {"only": "int8", "chosen_for": report.chosen_for, **options.parameters()},
        "numpy",
        "onnx",
        "onnxruntime",
    )
    return change_artifact(root, edit, record)


class _Search:
    """Mixes in the order of one list of layers, and what is known of them."""

    def __init__(
        self, trials: MixedTrials, utterances: Sequence[Speech], manifest: Manifest, progress: Progress
    ) -> None:
        self._trials, self._utterances, self._manifest = trials, utterances, manifest
        self._progress = progress
        self._noise, self._unavoidable = trials.noise_of_each(progress)
        self._saved_s, self.time_model = trials.saved_s(progress)
        self._order = sorted(trials.parts, key=self._worth)
        self.fp32 = self._figures(trials.reference)
        self._measured: dict[int, MixedPoint] = {}

    def _worth(self, part: Part) -> tuple[bool, float, str, str]:
        """Layers that INT8 makes slower come first; then those with the most noise for the time that they save."""
        noise, saved_s = float(self._noise[part].shares.mean()), self._saved_s[part]
        return saved_s > 0.0, -noise / saved_s if saved_s > 0.0 else -noise, part.role, part.name

    @property
    def _fastest(self) -> int:
        return sum(self._saved_s[part] <= 0.0 for part in self._order)

    @property
    def _most(self) -> int:
        # An INT8 graph has at least one INT8 layer.
        return len(self._order) - 1

    def predicted_db(self, float_layers: int) -> float:
        """Mean SNR in dB that follows from the noise of single layers."""
        return snr_of(
            np.sum([self._noise[part].shares for part in self._order[float_layers:]], axis=0)
            + self._unavoidable
        )

    def grid(self) -> list[int]:
        """Numbers of FP32 layers, from the fastest mix on in even steps of the predicted SNR, and the largest."""
        first = min(self._fastest, self._most)
        numbers = list(range(first, self._most + 1))
        predicted = np.array([self.predicted_db(number) for number in numbers])
        wanted = np.linspace(predicted[0], max(predicted[0], min(predicted[-1], _MOST_DB)), _GRID)
        return sorted(
            {numbers[int(np.abs(predicted - value).argmin())] for value in wanted} | {first, self._most}
        )

    def measure(self, numbers: Sequence[int]) -> None:
        """Vocode and time mixes with so many FP32 layers, all in one run of turns with FP32."""
        mixes = [self._order[:number] for number in numbers]
        figures = []
        for done, mix in enumerate(mixes):
            self._progress("measuring mixes", done, len(mixes))
            with self._trials.opened(mix) as vocoder:
                audios = vocode(vocoder, self._utterances)
            figures.append((noise_of(self._trials.reference, audios), self._figures(audios)))
        fp32, *rtfs = self._trials.rtfs([None, *mixes], self._progress)
        for number, (noise, judged), rtf in zip(numbers, figures, rtfs, strict=True):
            low, ratio, high = np.quantile(rtf / fp32, (0.25, 0.5, 0.75))
            before, after = self.fp32["pesq_wb"], judged["pesq_wb"]
            self._measured[number] = MixedPoint(
                float_layers=number,
                predicted_snr_db=self.predicted_db(number),
                snr_db=noise.snr_db,
                multi_resolution_stft=noise.multi_resolution_stft,
                pesq_lost=None if before is None or after is None else before - after,
                lsd=judged["lsd"],
                rtf=float(np.median(rtf)),
                time_ratio=float(ratio),
                time_ratio_low=float(low),
                time_ratio_high=float(high),
            )

    def narrow(self, goal: Budget) -> None:
        """Measure mixes between the last one beyond a budget and the first one within it, halving the distance."""
        while True:
            points = self.points()
            at_most = goal.kind == "time_ratio"
            kept = [goal.kept_by(point) != at_most for point in points]
            if all(kept) or not any(kept):
                return
            after = kept.index(True)
            low, high = points[max(after - 1, 0)].float_layers, points[after].float_layers
            if high - low < 2:
                return
            self.measure([(low + high) // 2])

    def points(self) -> list[MixedPoint]:
        """Measured mixes, in ascending order of FP32 layers."""
        return [self._measured[number] for number in sorted(self._measured)]

    def layers(self, float_layers: int) -> tuple[Layer, ...]:
        """All layers, of which the first so many are FP32 in the chosen mix."""
        return tuple(
            Layer(
                role=part.role,
                name=part.name,
                convolutions=part.convolutions,
                snr_db=self._noise[part].snr_db,
                multi_resolution_stft=self._noise[part].multi_resolution_stft,
                saved_s=self._saved_s[part],
                precision="fp32" if place < float_layers else "int8",
            )
            for place, part in enumerate(self._order)
        )

    def _figures(self, audios: Sequence[np.typing.NDArray[np.float32]]) -> dict[str, float | None]:
        manifest = self._manifest
        return mean_figures(
            [
                measure(each.samples, audio, manifest.sample_rate, manifest.mel, _FIGURES)
                for each, audio in zip(self._utterances, audios, strict=True)
            ]
        )


def _named(points: Sequence[MixedPoint]) -> dict[PointName, int]:
    faithful = next(
        (place for place, point in enumerate(points) if point.snr_db >= _FAITHFUL_DB), len(points) - 1
    )
    return {"fast": 0, "balanced": _bend(points[: faithful + 1]), "faithful": faithful}


def _bend(points: Sequence[MixedPoint]) -> int:
    """Index of the point that lies furthest above the line from the first point to the last."""
    first, last = points[0], points[-1]
    time = max(last.time_ratio - first.time_ratio, 1e-9)
    gain_db = max(last.snr_db - first.snr_db, 1e-9)
    above = [
        (point.snr_db - first.snr_db) / gain_db - (point.time_ratio - first.time_ratio) / time
        for point in points
    ]
    return int(np.argmax(above))


def _within(points: Sequence[MixedPoint], budget: Budget) -> int:
    kept = [place for place, point in enumerate(points) if budget.kept_by(point)]
    if not kept:
        best = max(points, key=lambda point: point.snr_db)
        fastest = min(points, key=lambda point: point.time_ratio)
        raise InputError(
            f"a mix must have {budget}, the most faithful one has an SNR of {best.snr_db:.1f} dB, and the fastest one "
            f"takes {fastest.time_ratio:.2f} of the time of FP32; relax the budget, or use FP32"
        )
    if budget.kind == "time_ratio":
        return max(kept, key=lambda place: points[place].snr_db)
    return min(kept, key=lambda place: points[place].float_layers)


def _config_of(manifest: Manifest) -> Int8Config:
    """The settings of the artifact's INT8 graphs, as far as they are stated; the defaults for the others."""
    details = next(
        (g.details for g in manifest.graphs if g.precision == "int8" and "ranges" in g.details), {}
    )
    stated = {name: details[name] for name in ("ranges", "rounding", "bias_correction") if name in details}
    return Int8Config(**stated)  # type: ignore[arg-type]
