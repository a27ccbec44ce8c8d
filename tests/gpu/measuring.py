"""Times and GPU memory, measured the same way in every section."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from artifacts.shipped import SAMPLES
from tests.gpu.report import Figure
from voirs_vocoder.runtime import MelConvention, mel_spectrogram, read_audio

__all__ = ["gpu_memory_mb", "gpu_name", "snr_db", "speech_mel", "timed"]

_EQUAL_DB = 200.0


def timed(
    name: str, run: Callable[[], object], *, budget_s: float = 0.5, limit: float | None = None, note: str = ""
) -> Figure:
    """Median duration of a call in milliseconds, after two calls that are not counted.

    Args:
        name: What is measured, in words.
        run: The call, which returns when its result is in host memory.
        budget_s: Time to spend on the measurement in seconds; 5 to 200 calls are timed.
        limit: Most milliseconds that the median may have; None for a figure that only informs.
        note: What belongs to the figure.
    """
    run()
    started = time.perf_counter()
    run()
    once = time.perf_counter() - started
    durations = []
    for _ in range(int(np.clip(budget_s / max(once, 1e-6), 5, 200))):
        started = time.perf_counter()
        run()
        durations.append(1e3 * (time.perf_counter() - started))
    low, median, high = np.quantile(durations, (0.1, 0.5, 0.9))
    return Figure(
        name=name, value=float(median), unit="ms", low=float(low), high=float(high), limit=limit, note=note
    )


def snr_db(reference: NDArray[np.float32], result: NDArray[np.float32]) -> float:
    """Signal-to-noise ratio of a result in dB, 200 where both are equal.

    Args:
        reference: Audio of any shape.
        result: Audio of the same shape.
    """
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(reference.astype(np.float64) - result).sum())
    return _EQUAL_DB if noise == 0.0 else 10.0 * float(np.log10(signal / noise))


def speech_mel(convention: MelConvention, frames: int) -> NDArray[np.float32]:
    """A mel [n_mels, frames] of the shipped recordings, repeated as often as it takes.

    Args:
        convention: Convention of the model.
        frames: Number of mel frames.
    """
    pieces: list[NDArray[np.float32]] = []
    missing = frames
    recordings = sorted(SAMPLES.glob("*.flac"))
    while missing > 0:
        for path in recordings:
            audio = read_audio(path)
            mel = mel_spectrogram(audio.samples, audio.sample_rate, convention=convention).values
            pieces.append(mel[:, :missing])
            missing -= pieces[-1].shape[1]
            if missing <= 0:
                break
    return np.ascontiguousarray(np.concatenate(pieces, axis=1), np.float32)


def gpu_memory_mb(device: int = 0) -> float:
    """GPU memory in use by all processes, in MB of 2^20 bytes, as the driver reports it.

    Args:
        device: Index of the GPU.
    """
    return float(_query("memory.used", device))


def gpu_name(device: int = 0) -> tuple[str, str]:
    """Name of the GPU and version of its driver.

    Args:
        device: Index of the GPU.
    """
    return _query("name", device), _query("driver_version", device)


def _query(what: str, device: int) -> str:
    command = ["nvidia-smi", f"--id={device}", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
