"""DNSMOS: mean opinion scores that a network predicts without a reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import resample
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError, MetricUndefinedError, check_pair
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.providers.ort_library import import_onnxruntime

__all__ = ["Dnsmos", "dnsmos", "dnsmos_ovrl_lost"]

_RATE = 16_000
_SEGMENT_S = 9.01
_MODEL = Path("dnsmos_models") / "sig_bak_ovr.onnx"
# Polynomials from the output of the network to the scale of P.835, highest power first: speechmos 0.0.1.1, dnsmos.py.
_SIG = (-0.08397278, 1.22083953, 0.0052439)
_BAK = (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Dnsmos:
    """Mean opinion scores of ITU-T P.835, from 1 to 5.

    Attributes:
        sig: Score of the speech signal.
        bak: Score of the background.
        ovrl: Score of the overall quality.
    """

    sig: float
    bak: float
    ovrl: float


def dnsmos(samples: NDArray[np.floating[Any]], sample_rate: int) -> Dnsmos:
    """Mean opinion scores that a network predicts: C. Reddy et al., DNSMOS P.835, ICASSP 2022, package `speechmos`.

    As in the package: at 16 kHz, segments of 9.01 s every second, scores averaged; shorter audio is repeated.

    Args:
        samples: Float32 or float64 [samples], clipped to [-1, 1].
        sample_rate: Sample rate in Hz.

    Raises:
        MetricUnavailableError: speechmos or onnxruntime is not installed.
        MetricUndefinedError: There are no samples.
    """
    session = _session()
    resampled = np.clip(resample(samples.astype(np.float32), sample_rate, _RATE), -1.0, 1.0)
    if not resampled.size:
        raise MetricUndefinedError("DNSMOS needs audio, got none; measure speech")
    length = int(_SEGMENT_S * _RATE)
    while resampled.size < length:
        resampled = np.append(resampled, resampled)
    count = int(resampled.size // _RATE - _SEGMENT_S) + 1
    # As the package rounds: some segments end a sample early and are left out.
    cut = (resampled[number * _RATE : int((number + _SEGMENT_S) * _RATE)] for number in range(count))
    segments = [segment for segment in cut if segment.size == length]
    raw = np.array([session.run(None, {"input_1": segment[np.newaxis]})[0][0] for segment in segments])
    sig, bak, ovrl = (
        float(np.mean(np.polyval(polynomial, raw[:, place])))
        for place, polynomial in enumerate((_SIG, _BAK, _OVRL))
    )
    return Dnsmos(sig, bak, ovrl)


def dnsmos_ovrl_lost(
    reference: NDArray[np.floating[Any]], degraded: NDArray[np.floating[Any]], sample_rate: int
) -> float:
    """Overall DNSMOS of the reference minus that of the degraded signal.

    The network was trained on noise suppression, so that its score of a vocoder means little; the difference does.

    Args:
        reference: Float32 or float64 [samples].
        degraded: Float32 or float64 [samples], as long as `reference`.
        sample_rate: Sample rate of both signals, in Hz.

    Raises:
        InputError: The signals break a rule of `check_pair`.
        MetricUnavailableError: speechmos or onnxruntime is not installed.
        MetricUndefinedError: There are no samples.
    """
    clean, other = check_pair(reference, degraded)
    return dnsmos(clean, sample_rate).ovrl - dnsmos(other, sample_rate).ovrl


@lru_cache(maxsize=1)
def _session() -> Any:
    # The package itself imports librosa and more; its network is all that is needed.
    spec = find_spec("speechmos")
    if spec is None or spec.origin is None:
        raise MetricUnavailableError(missing_package("this metric", "speechmos", "eval"))
    try:
        ort = import_onnxruntime()
    except VoirsVocoderError as error:
        raise MetricUnavailableError(f"DNSMOS is a network: {error}") from error
    path = Path(spec.origin).parent / _MODEL
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
