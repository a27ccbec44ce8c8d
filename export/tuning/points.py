"""Names of the mixes of INT8 and FP32 layers that `tune --only int8` measures."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["POINT_NAMES", "PointName"]

PointName = Literal["fast", "balanced", "faithful"]
"""Name of a mix: `fast` has the least predicted time, `faithful` is the first with an SNR of 33 dB, and `balanced` lies
where the curve between the two bends."""

POINT_NAMES: tuple[PointName, ...] = get_args(PointName)
"""All names of mixes, the fastest first."""
