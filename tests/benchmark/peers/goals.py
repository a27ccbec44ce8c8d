"""What the project asks of its artifacts against peers, and whether the results meet it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmark.peers.contract import Arithmetic
from tests.benchmark.peers.onnxruntime_peers import STOCK
from tests.benchmark.peers.results import PeerResult, Quality
from tests.benchmark.peers.table import PEERS

__all__ = ["Results", "best_of_same_quality", "goal_rows", "peak_share", "tuned"]

Results = Mapping[tuple[str, str, str], PeerResult]

# A difference in SNR that other rounding makes from run to run.
_SAME_QUALITY_DB = 1.0
# Beyond it the sums of FP32 differ in their order only.
_FP32_DB = 80.0
_MOONSHOT_RTF = 0.02


def tuned(results: Results, case: str, mode: str) -> PeerResult | None:
    """The fastest of our artifacts whose audio passes the gates of its precision; None where there is none.

    Args:
        results: Results by their key.
        case: Key of the case.
        mode: The mode; quality is judged by the mode `offline`.
    """
    ours = [
        result
        for (of_case, name, of_mode), result in results.items()
        if (of_case, of_mode) == (case, mode) and PEERS[name].ours and result.rtf is not None
    ]
    within = []
    for result in ours:
        quality = _quality(results, result)
        if quality is not None and quality.within_gates:
            within.append(result)
    return _fastest(within)


def best_of_same_quality(results: Results, ours: PeerResult) -> PeerResult | None:
    """The fastest peer whose SNR is at least that of one of our results, within 1 dB; None where there is none.

    Args:
        results: Results by their key.
        ours: One of our results.
    """
    quality = _quality(results, ours)
    if quality is None:
        return None
    least_db = min(quality.snr_db - _SAME_QUALITY_DB, _FP32_DB)
    peers = []
    for (case, name, mode), result in results.items():
        if (case, mode) != (ours.case, ours.mode) or PEERS[name].ours or result.rtf is None:
            continue
        other = _quality(results, result)
        if other is not None and other.snr_db >= least_db:
            peers.append(result)
    return _fastest(peers)


def peak_share(result: PeerResult, peaks: Mapping[Arithmetic, float]) -> float | None:
    """Arithmetic done per second as a share of the machine's peak in the same arithmetic; None where either is unknown.

    Args:
        result: A result.
        peaks: Arithmetic to the machine's peak in billions of operations per second.
    """
    peak = peaks.get(PEERS[result.peer].arithmetic)
    return None if peak is None or result.gflop_per_s is None else result.gflop_per_s / peak


@dataclass(frozen=True)
class _SpeedGoal:
    """A ratio of speeds in the mode `offline`.

    Attributes:
        case: Key of the case.
        against: Name of the peer; None takes the fastest peer of the same quality.
        with_amx: Least ratio on a CPU with AMX; None asks nothing there.
        without_amx: Least ratio on another CPU; None asks nothing there.
    """

    case: str
    against: str | None
    with_amx: float | None
    without_amx: float | None


@dataclass(frozen=True)
class _QualityGoal:
    """A limit on the quality of one of our artifacts.

    Attributes:
        case: Key of the case.
        peer: Name of our artifact.
        title: Name of the figure.
        figure: Takes the figure from the quality; None where it was not measured.
        least: Least value; None where `most` is given.
        most: Largest value; None where `least` is given.
    """

    case: str
    peer: str
    title: str
    figure: Callable[[Quality], float | None]
    least: float | None = None
    most: float | None = None


_SPEED = (
    _SpeedGoal("v1", STOCK.name, 5.0, 2.7),
    _SpeedGoal("v1", "openvino-bf16", 1.3, None),
    _SpeedGoal("v1", "openvino", None, 1.4),
    _SpeedGoal("v2", None, 1.4, 1.4),
    _SpeedGoal("v3", None, 1.4, 1.4),
    _SpeedGoal("diffwave-base", STOCK.name, 3.0, 2.2),
    _SpeedGoal("waveglow", STOCK.name, 3.0, 3.0),
)
_QUALITY = (
    _QualityGoal("v2", "ours-int8-cpu", "SNR, dB", lambda quality: quality.snr_db, least=33.0),
    _QualityGoal("v2", "ours-int8-cpu", "LSD", lambda quality: quality.lsd, most=0.9),
    _QualityGoal("v2", "ours-int8-cpu", "PESQ lost", lambda quality: quality.pesq_lost, most=0.02),
    _QualityGoal("v2", "ours-int8-openvino", "SNR, dB", lambda quality: quality.snr_db, least=30.0),
    _QualityGoal("v2", "ours-bf16-openvino", "SNR, dB", lambda quality: quality.snr_db, least=33.0),
    _QualityGoal("v2", "ours-bf16-openvino", "PESQ lost", lambda quality: quality.pesq_lost, most=0.015),
    _QualityGoal("unet", "ours-int8-cpu", "LSD above FP32", lambda quality: quality.lsd_gained, most=0.15),
    _QualityGoal(
        "diffwave", "ours-int8-cpu", "LSD above FP32", lambda quality: quality.lsd_gained, most=0.15
    ),
)


def goal_rows(results: Results, *, has_amx: bool, peaks: Mapping[Arithmetic, float]) -> list[list[str]]:
    """Goals and verdicts as rows of text, the first being the header; goals of other machines are left out.

    Args:
        results: Results by their key.
        has_amx: Whether the machine's CPU has AMX.
        peaks: Arithmetic to the machine's peak in billions of operations per second.
    """
    rows = [["goal", "measured", "limit", "verdict"]]
    for goal in _SPEED:
        limit = goal.with_amx if has_amx else goal.without_amx
        if limit is not None:
            rows.append(_speed_row(results, goal, limit))
    rows.extend(_quality_row(results, goal) for goal in _QUALITY)
    return [*rows, _moonshot_row(results, peaks)]


def _speed_row(results: Results, goal: _SpeedGoal, limit: float) -> list[str]:
    ours = tuned(results, goal.case, "offline")
    if goal.against is not None:
        other = results.get((goal.case, goal.against, "offline"))
    else:
        other = None if ours is None else best_of_same_quality(results, ours)
    against = goal.against or "the fastest peer of the same quality"
    title = f"{goal.case}: times faster than {against}"
    if ours is None or other is None or ours.rtf is None or other.rtf is None:
        return [title, "not measured", f">= {limit:g}", ""]
    mine, theirs = ours.stock_ratio, other.stock_ratio
    if mine is not None and theirs is not None:
        ratio, low, high = (
            mine.median / theirs.median,
            mine.low / theirs.high,
            mine.high / theirs.low,
        )
    else:
        ratio, low, high = (
            other.rtf.median / ours.rtf.median,
            other.rtf.low / ours.rtf.high,
            other.rtf.high / ours.rtf.low,
        )
    names = ours.peer if goal.against else f"{ours.peer} against {other.peer}"
    measured = f"{ratio:.2f} ({low:.2f} to {high:.2f}), {names}"
    return [title, measured, f">= {limit:g}", "met" if ratio >= limit else "missed"]


def _quality_row(results: Results, goal: _QualityGoal) -> list[str]:
    limit = f">= {goal.least:g}" if goal.least is not None else f"<= {goal.most:g}"
    title = f"{goal.case}, {goal.peer}: {goal.title}"
    result = results.get((goal.case, goal.peer, "offline"))
    value = None if result is None or result.quality is None else goal.figure(result.quality)
    if value is None:
        return [title, "not measured", limit, ""]
    is_met = value >= goal.least if goal.least is not None else goal.most is not None and value <= goal.most
    return [title, f"{value:.3g}", limit, "met" if is_met else "missed"]


def _moonshot_row(results: Results, peaks: Mapping[Arithmetic, float]) -> list[str]:
    title, limit = "v1: RTF", f"<= {_MOONSHOT_RTF:g}"
    ours = tuned(results, "v1", "offline")
    if ours is None or ours.rtf is None:
        return [title, "not measured", limit, ""]
    rtf = ours.rtf.median
    share = peak_share(ours, peaks)
    of_peak = "" if share is None else f", at {share:.0%} of the machine's peak"
    verdict = "met" if rtf <= _MOONSHOT_RTF else f"missed by a factor of {rtf / _MOONSHOT_RTF:.1f}"
    return [title, f"{rtf:.4f}, {ours.peer}{of_peak}", limit, verdict]


def _quality(results: Results, result: PeerResult) -> Quality | None:
    measured = results.get((result.case, result.peer, "offline"))
    return None if measured is None else measured.quality


def _fastest(results: Sequence[PeerResult]) -> PeerResult | None:
    """The fastest relative to the stock export of the same rounds, or by RTF where not all were compared with it."""
    ratios = {result.key: result.stock_ratio for result in results}

    def speed(result: PeerResult) -> float:
        ratio = ratios[result.key]
        if ratio is not None and all(ratios.values()):
            return ratio.median
        return -float("inf") if result.rtf is None else -result.rtf.median

    return max(results, key=speed, default=None)
