"""Filtering by second-order sections, block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import scipy_signal
from voirs_vocoder.runtime.effects.effect import Curves, Samples

__all__ = ["Sections"]


class Sections:
    """State of a filter for one signal that comes in blocks (`scipy.signal.sosfilt`); an `EffectState`."""

    def __init__(self, sections: NDArray[np.float64], channels: int) -> None:
        """Begin a signal; silence comes before it.

        Args:
            sections: Coefficients, float64 [sections, 6], in the layout of scipy.signal.sosfilt.
            channels: Number of channels of the signal.

        Raises:
            InputError: scipy is not installed.
        """
        self._filter = scipy_signal().sosfilt
        self._sections = sections
        self._state = np.zeros((len(sections), channels, 2))

    def process(self, block: Samples, moving: Curves) -> Samples:
        """Filter the next samples, float32 [channels, samples]; no parameter can be automated."""
        del moving
        return self.filtered(block).astype(np.float32)

    def filtered(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        """Filter the next samples [channels, samples]; returns float64, which `process` rounds to float32."""
        if block.shape[1] == 0:
            return block.astype(np.float64)
        filtered: NDArray[np.float64]
        filtered, self._state = self._filter(self._sections, block, axis=1, zi=self._state)
        return filtered
