"""Whether an artifact's mel convention is that of its weights, judged by what the model makes of recordings.

A trained vocoder gives back the recording that a mel was computed from: the same spectrum, at the same level, at the
same time. In a wrong convention it does not: a wrong logarithm, range or normalization changes level and contrast,
wrong filters shift formants, a wrong framing moves everything in time. What hardly changes mels of speech
(a floor below the noise of recordings, zeros instead of reflections at both ends, a symmetric window, an epsilon)
cannot be seen here, and does not matter to the audio either.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.precisions import Gate
from voirs_vocoder.export.validation.gates import GateResult, Status, gate_lines, judged, verdict_of
from voirs_vocoder.export.validation.resynthesis import Match, match_of
from voirs_vocoder.export.validation.speech import Speech
from voirs_vocoder.runtime import Vocoder
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.errors import TooShortError
from voirs_vocoder.runtime.mel import MelRangeWarning, mel_spectrogram
from voirs_vocoder.runtime.mel.compression import nepers_per_unit
from voirs_vocoder.runtime.mel.convention import CONVENTIONS, MelConvention
from voirs_vocoder.runtime.progress import Progress

__all__ = ["ConventionReport", "alternatives", "check_convention", "convention_lines"]

# In their own conventions the shipped models (HiFi-GAN, WaveGlow, DiffWave, U-Net) gave at least 0.89, at most 0.92 and
# at most 1.1 ms. Half a hop, as between the two framings, is 5 to 8 ms.
_CORRELATION = Gate("correlation", "min", 0.8)
_DISTANCE = Gate("mel_l1_nepers", "max", 1.2)
_LAG = Gate("lag_ms", "max", 2.5)
# In their own conventions no other one came closer to the shipped models, but for Vocos: its first layer is normalized,
# so any scale of a mel does, and decimal logarithms come 0.02 closer. Wrong conventions gave from 0.06 (the framing)
# and 0.09 (the upper edge) to 4.5.
_GAIN = Gate("mel_l1_gain_nepers", "max", 0.05)
_GATES = (_CORRELATION, _DISTANCE, _LAG, _GAIN)
# Below, the audio may have nothing of the recording: random weights give from -0.2 to 0.2.
_LEAST_CORRELATION = 0.6

_EXCERPTS = 3
_EXCERPT_S = 2.0
_TRIAL_S = 0.5
_LEAST_EXCERPT_S = 0.5
# Mean difference of two mels, in nepers, below which they are one for this purpose.
_SAME_NEPERS = 0.02
_AS_GOOD = 1.01


class ConventionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How well the stated mel convention fits the weights.

    Attributes:
        mel: Id of the artifact's mel convention.
        figures: `correlation` of the log mels of recording and audio, `mel_l1_nepers` their mean absolute difference,
            `lag_ms` the absolute delay of the audio, `mel_l1_gain_nepers` the difference less that of the best other
            convention, 0 where no other one reproduces the recordings; None for one that could not be measured.
        gates: Results of the gates.
        better: Other convention in which the model reproduces the recordings more closely by more than the limit, or
            without a lag; None where there is none.
        status: `failed` if a gate failed, `not run` if the model reproduces the recordings in no convention that was
            tried or the recordings are too short, `passed` otherwise.
    """

    mel: str
    figures: dict[str, float | None]
    gates: tuple[GateResult, ...]
    better: str | None
    status: Status


def check_convention(
    vocoder: Vocoder, manifest: Manifest, speech: Sequence[Speech], progress: Progress
) -> ConventionReport:
    """Vocode excerpts of recordings in the artifact's mel convention and in others, and compare with the recordings.

    Args:
        vocoder: Model of the artifact in full precision.
        manifest: Manifest of the artifact.
        speech: Recordings at the artifact's sample rate; the first three that are long enough are used.
        progress: Receives the number of conventions that were tried.
    """
    mel = manifest.mel
    least = max(int(_LEAST_EXCERPT_S * mel.sample_rate), 2 * mel.n_fft)
    long_enough = [each.samples for each in speech if each.samples.size >= least][:_EXCERPTS]
    if not long_enough:
        return _report(mel, None, None, None)
    excerpts = [_loudest(samples, int(_EXCERPT_S * mel.sample_rate)) for samples in long_enough]
    stated = _mean([_match(vocoder, excerpt, mel) for excerpt in excerpts])
    # Half a second finds the best of the others; all excerpts then decide.
    trial = _loudest(long_enough[0], max(least, int(_TRIAL_S * mel.sample_rate)))
    found = _best_other(vocoder, manifest, trial, progress)
    gain_nepers, better = 0.0, None
    if found is not None:
        title, other, match = found
        gain_nepers = _match(vocoder, trial, mel).distance_nepers - match.distance_nepers
        if gain_nepers > _SAME_NEPERS:
            matches = [_match(vocoder, excerpt, other) for excerpt in excerpts]
            gain_nepers = stated.distance_nepers - _mean(matches).distance_nepers
        better = title if gain_nepers > _GAIN.limit else None
    if better is None and _reproduces(stated) and abs(stated.lag_ms) > _LAG.limit:
        better = _in_time(vocoder, manifest, excerpts)
    return _report(mel, stated, gain_nepers, better)


def _in_time(vocoder: Vocoder, manifest: Manifest, excerpts: Sequence[NDArray[np.float32]]) -> str | None:
    """The alternative of another framing and nothing else, if the model does not lag in it."""
    mel = manifest.mel
    for title, other in alternatives(manifest).items():
        reframed = msgspec.structs.replace(other, id=mel.id, framing=mel.framing, padding=mel.padding)
        if reframed == mel and other.framing != mel.framing:
            lag_ms = _mean([_match(vocoder, excerpt, other) for excerpt in excerpts]).lag_ms
            return title if abs(lag_ms) <= _LAG.limit else None
    return None


def _best_other(
    vocoder: Vocoder, manifest: Manifest, samples: NDArray[np.float32], progress: Progress
) -> tuple[str, MelConvention, Match] | None:
    """The first of the alternatives that are as good as the best; None where none reproduces the recording."""
    tried = alternatives(manifest)
    matches: list[tuple[str, MelConvention, Match]] = []
    for number, (title, other) in enumerate(tried.items()):
        progress("mel convention", number, len(tried))
        if _differs(samples, manifest.mel, other):
            match = _match(vocoder, samples, other)
            if _reproduces(match):
                matches.append((title, other, match))
    least = min((match.distance_nepers for _, _, match in matches), default=0.0)
    return next((each for each in matches if each[2].distance_nepers <= _AS_GOOD * least), None)


def convention_lines(report: ConventionReport | None) -> Iterator[str]:
    """A line for each gate that failed, one that names a better convention, or one with the reason why no gate was run.

    Args:
        report: Result of the check; None gives no line.
    """
    if report is None or report.status == "passed":
        return
    title = f"mel convention {report.mel}"
    if report.status == "not run":
        correlation = report.figures["correlation"]
        if correlation is None:
            why = "the recordings are shorter than half a second"
        else:
            why = (
                f"the model reproduces the recordings in no known convention (correlation {correlation:.2f}); it is "
                "untrained, or takes another mel"
            )
        yield f"not run: {title}: {why}"
        return
    yield from gate_lines(title, [result for result in report.gates if result.status == "failed"])
    if report.better is not None:
        yield f"{title} is not that of the weights: {report.better} fits better; export again in that one"


def alternatives(manifest: Manifest) -> dict[str, MelConvention]:
    """Other mel conventions that an artifact's weights may have been trained on, by a title.

    Args:
        manifest: Manifest of the artifact.

    Returns:
        The convention that the configuration states, published conventions of the same sample rate, hop length and
        number of bands, and the stated one with one parameter changed; none of them twice.
    """
    mel = manifest.mel
    shape = (mel.sample_rate, mel.hop_length, mel.n_mels)
    found: list[tuple[str, MelConvention]] = []
    if manifest.source.configured_mel is not None:
        found.append(("the convention of the configuration", manifest.source.configured_mel))
    found += [
        (each.id, each)
        for each in CONVENTIONS.values()
        if (each.sample_rate, each.hop_length, each.n_mels) == shape
    ]
    for title, changes in _changes(mel):
        try:
            found.append((f"{mel.id} with {title}", msgspec.structs.replace(mel, **changes)))
        except ValueError:
            # Not every change leaves a convention, such as a framing that needs even lengths.
            continue
    seen, others = [msgspec.structs.replace(mel, id="")], {}
    for title, each in found:
        parameters = msgspec.structs.replace(each, id="")
        if parameters not in seen:
            seen.append(parameters)
            others[title] = each
    return others


def _changes(mel: MelConvention) -> Iterator[tuple[str, dict[str, object]]]:
    plain: dict[str, object] = {"scale": 1.0, "offset": 0.0, "limits": None}
    floor = min(mel.floor, 1e-5)
    if mel.floor > floor:
        yield "floor 1e-05", {"floor": floor}
    yield "natural logarithms", {**plain, "compression": "ln", "floor": floor}
    yield "decimal logarithms", {**plain, "compression": "log10", "floor": floor}
    yield "decibels in [0, 1]", {**plain, "compression": "db-unit", "floor": floor}
    symmetric = {"scale": 1.6, "offset": 2.4, "limits": (-4.0, 4.0)}
    yield "decibels in [-4, 4]", {**symmetric, "compression": "log10", "floor": floor}
    scale = "htk" if mel.mel_scale == "slaney" else "slaney"
    norm = "none" if mel.mel_norm == "slaney" else "slaney"
    yield f"{scale} bands", {"mel_scale": scale}
    yield f"norm {norm}", {"mel_norm": norm}
    yield f"{scale} bands, norm {norm}", {"mel_scale": scale, "mel_norm": norm}
    if mel.framing == "centered" or mel.padding == "none":
        yield "hop-aligned frames", {"framing": "hop-aligned", "padding": "reflect"}
    else:
        yield "centered frames", {"framing": "centered"}
    for edge_hz in (7600.0, 8000.0, mel.sample_rate / 2.0):
        yield f"bands to {edge_hz:g} Hz", {"f_max_hz": edge_hz}
    for edge_hz in (0.0, 20.0, 80.0):
        yield f"bands from {edge_hz:g} Hz", {"f_min_hz": edge_hz}
    normalized = not mel.window_energy_normalized
    yield f"window energy {'' if normalized else 'not '}normalized", {"window_energy_normalized": normalized}
    spectrum = "power" if mel.spectrum == "magnitude" else "magnitude"
    yield f"{spectrum} spectra", {"spectrum": spectrum}


def _reproduces(match: Match) -> bool:
    return match.correlation >= _CORRELATION.limit and match.distance_nepers <= _DISTANCE.limit


def _report(
    mel: MelConvention, match: Match | None, gain_nepers: float | None, better: str | None
) -> ConventionReport:
    figures: dict[str, float | None] = dict.fromkeys(gate.figure for gate in _GATES)
    if match is not None:
        figures |= {
            "correlation": match.correlation,
            "mel_l1_nepers": match.distance_nepers,
            # Audio without the recording's envelope lags by no amount that means anything.
            "lag_ms": abs(match.lag_ms) if _reproduces(match) else None,
            "mel_l1_gain_nepers": gain_nepers,
        }
    gates = judged(_GATES, figures)
    if match is None or (match.correlation < _LEAST_CORRELATION and better is None):
        gates = tuple(msgspec.structs.replace(result, status="not run") for result in gates)
    status = verdict_of(gates) or "not run"
    return ConventionReport(mel=mel.id, figures=figures, gates=gates, better=better, status=status)


def _loudest(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The loudest part of a recording of that many samples; all of a shorter one."""
    if samples.size <= length:
        return samples
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def _differs(samples: NDArray[np.float32], mel: MelConvention, other: MelConvention) -> bool:
    try:
        values = mel_spectrogram(samples, mel.sample_rate, other).values
    except TooShortError:
        return False
    stated = mel_spectrogram(samples, mel.sample_rate, mel).values
    frames = min(values.shape[1], stated.shape[1])
    difference = np.abs(values[:, :frames] - stated[:, :frames]).mean()
    return float(difference) * nepers_per_unit(mel) > _SAME_NEPERS


def _match(vocoder: Vocoder, samples: NDArray[np.float32], convention: MelConvention) -> Match:
    rate = convention.sample_rate
    values = mel_spectrogram(samples, rate, convention).values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MelRangeWarning)
        made = vocoder.vocode(values).samples[0]
    length = min(made.size, samples.size)
    return match_of(samples[:length], made[:length], rate)


def _mean(matches: Sequence[Match]) -> Match:
    return Match(
        float(np.mean([match.correlation for match in matches])),
        float(np.mean([match.distance_nepers for match in matches])),
        float(np.mean([match.lag_ms for match in matches])),
    )
