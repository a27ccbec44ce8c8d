"""How far a peer's audio is from that of the FP32 model, and what it loses against the recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import CaseFacts, Peer
from tests.benchmark.peers.results import Quality
from voirs_vocoder.export.validation.gates import gates_of, judged, verdict_of
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import (
    MetricUnavailableError,
    MetricUndefinedError,
    lsd,
    max_abs_error,
    pesq_wb,
    snr_db,
)

__all__ = ["measured_quality"]

_MOST_SNR_DB = 150.0


def measured_quality(
    folder: Path, audio: NDArray[np.float32], peer: Peer, facts: CaseFacts, manifest: Manifest
) -> Quality:
    """Compare a peer's audio with that of PyTorch in FP32, and with the recordings where the weights are trained.

    Args:
        folder: Folder of the case.
        audio: Audio that the peer made of the case's excerpts, float32 [excerpts, samples].
        peer: The peer.
        facts: Facts of the case.
        manifest: Manifest of our artifact, whose gates are those of the model.

    Raises:
        InputError: The audio has another length, or values that are not finite.
    """
    with np.load(folder / "quality.npz") as arrays:
        reference, recordings = arrays["reference"], arrays["recordings"]
    if audio.shape != reference.shape or not np.isfinite(audio).all():
        raise InputError(
            f"a peer must give finite audio of shape {list(reference.shape)}, got {list(audio.shape)} with "
            f"{int((~np.isfinite(audio)).sum())} values that are not finite; look at its settings"
        )
    snr = float(np.mean([min(_MOST_SNR_DB, snr_db(own, other)) for own, other in _pairs(reference, audio)]))
    figures: dict[str, float | None] = {
        "snr_db": snr,
        "max_abs_error": max(max_abs_error(own, other) for own, other in _pairs(reference, audio)),
    }
    distance = before = None
    if facts.trained:
        distance = _mean_lsd(recordings, audio)
        before = _mean_lsd(recordings, reference)
        figures |= _pesq(recordings, reference, audio, manifest.sample_rate)
    within = None
    if peer.gate is not None:
        precision, target = peer.gate
        within = verdict_of(judged(gates_of(manifest, precision, target), figures)) != "failed"
    return Quality(
        snr_db=snr,
        lsd=distance,
        lsd_gained=None if distance is None or before is None else distance - before,
        pesq=figures.get("pesq"),
        pesq_lost=figures.get("pesq_lost"),
        excerpts=len(audio),
        within_gates=within,
    )


def _pairs(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    return list(zip(first, second, strict=True))


def _mean_lsd(recordings: NDArray[np.float32], audio: NDArray[np.float32]) -> float:
    return float(np.mean([lsd(own, other) for own, other in _pairs(recordings, audio)]))


def _pesq(
    recordings: NDArray[np.float32],
    reference: NDArray[np.float32],
    audio: NDArray[np.float32],
    sample_rate: int,
) -> dict[str, float | None]:
    """Means over the excerpts for which PESQ is defined; nothing where there is none, or no package."""
    scores = []
    for recording, before, after in zip(recordings, reference, audio, strict=True):
        try:
            scores.append((pesq_wb(recording, before, sample_rate), pesq_wb(recording, after, sample_rate)))
        except MetricUndefinedError:
            continue
        except MetricUnavailableError:
            return {}
    if not scores:
        return {}
    before_mean, after_mean = (float(value) for value in np.mean(scores, axis=0))
    return {"pesq": after_mean, "pesq_lost": before_mean - after_mean}
