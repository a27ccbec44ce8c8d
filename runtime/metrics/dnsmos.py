"""DNSMOS: what a network thinks that listeners would say, without a reference."""

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
from voirs_vocoder.runtime.metrics.pair import MetricUnavailableError, check_pair
from voirs_vocoder.runtime.optional import missing_package
from voirs_vocoder.runtime.providers.onnxruntime import import_onnxruntime

__all__ = ["Dnsmos", "dnsmos", "dnsmos_ovrl_lost"]

_RATE = 16_000
_SEGMENT_S = 9.01
_MODEL = Path("dnsmos_models") / "sig_bak_ovr.onnx"
# From what the network says to the scale of P.835, highest power first: speechmos 0.0.1.1, dnsmos.py.
_SIG = (-0.08397278, 1.22083953, 0.0052439)
_BAK = (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Dnsmos:
    """Mean opinion scores of ITU-T P.835, from 1 to 5.

    Attributes:
        sig: Of the speech.
        bak: Of the background.
        ovrl: Of the whole.
    """

    sig: float
    bak: float
    ovrl: float


def dnsmos(samples: NDArray[np.floating[Any]], sample_rate: int) -> Dnsmos:
    """C. Reddy et al., DNSMOS P.835, ICASSP 2022, with the network of the package `speechmos`.

    As there: at 16 kHz, segments of 9.01 s every second, scores averaged; shorter audio is repeated.

    Args:
        samples: Float32 or float64 [samples], clipped to [-1, 1].
        sample_rate: In Hz.

    Raises:
        MetricUnavailableError: speechmos or onnxruntime is not installed, or there are no samples.
    """
    session = _session()
    heard = np.clip(resample(samples.astype(np.float32), sample_rate, _RATE), -1.0, 1.0)
    if not heard.size:
        raise MetricUnavailableError("DNSMOS needs audio, got none; measure speech")
    length = int(_SEGMENT_S * _RATE)
    while heard.size < length:
        heard = np.append(heard, heard)
    count = int(heard.size // _RATE - _SEGMENT_S) + 1
    # As the package rounds: some segments end a sample early and are left out.
    cut = (heard[number * _RATE : int((number + _SEGMENT_S) * _RATE)] for number in range(count))
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
    """How much lower the overall DNSMOS of the degraded signal is.

    What a network that was trained on noise suppression says of a vocoder means little by itself; a difference does.

    Args:
        reference: Float32 or float64 [samples].
        degraded: The same length.
        sample_rate: Of both, in Hz.

    Raises:
        InputError: As `check_pair`.
        MetricUnavailableError: As `dnsmos`.
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
