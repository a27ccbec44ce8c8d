"""The last step of a mel convention: from mel magnitudes to values, and what values mean in nepers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["compressed", "least_value", "nepers_per_unit"]

_DB_PER_NEPER = 20.0 / math.log(10.0)
_DB_PER_UNIT = 100.0


def compressed(
    magnitudes: NDArray[np.floating[Any]] | float, convention: MelConvention
) -> NDArray[np.float64]:
    """Values of mel magnitudes in a convention: floor, logarithm, range.

    Args:
        magnitudes: Mel magnitudes, mel powers where the convention's spectrum is `power`, of any shape, at least 0.
        convention: Convention of the values.

    Returns:
        Float64 of the same shape.
    """
    wide = np.asarray(magnitudes, np.float64)
    floor = convention.floor
    safe = wide + floor if convention.floor_mode == "add" else np.maximum(wide, floor)
    if convention.compression == "db-unit":
        return np.clip((20.0 * np.log10(safe) - 20.0 + 100.0) / _DB_PER_UNIT, 0.0, 1.0)
    logarithm = np.log(safe) if convention.compression == "ln" else np.log10(safe)
    values: NDArray[np.float64] = convention.scale * logarithm + convention.offset
    return values if convention.limits is None else np.clip(values, *convention.limits)


def least_value(convention: MelConvention) -> float:
    """Value of a silent band: the least one that a convention gives."""
    return float(compressed(0.0, convention))


def nepers_per_unit(convention: MelConvention) -> float:
    """Nepers of mel magnitude, the root of a mel power, between two values that differ by 1."""
    if convention.compression == "db-unit":
        nepers = _DB_PER_UNIT / _DB_PER_NEPER
    else:
        nepers = (1.0 if convention.compression == "ln" else math.log(10.0)) / convention.scale
    return nepers if convention.spectrum == "magnitude" else nepers / 2.0
