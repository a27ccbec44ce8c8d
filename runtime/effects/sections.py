"""Second-order sections that remember where they were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import scipy_signal
from voirs_vocoder.runtime.effects.effect import Curves, Samples

__all__ = ["Sections"]


class Sections:
    """`scipy.signal.sosfilt` over a signal that comes in blocks. An `EffectState`."""

    def __init__(self, sections: NDArray[np.float64], channels: int) -> None:
        """At rest.

        Args:
            sections: Float64 [sections, 6].
            channels: Of the signal.

        Raises:
            InputError: scipy is not installed.
        """
        self._filter = scipy_signal().sosfilt
        self._sections = sections
        self._state = np.zeros((len(sections), channels, 2))

    def process(self, block: Samples, moving: Curves) -> Samples:
        """See `EffectState.process`."""
        del moving
        return self.filtered(block).astype(np.float32)

    def filtered(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        """The same in float64."""
        if block.shape[1] == 0:
            return block.astype(np.float64)
        filtered: NDArray[np.float64]
        filtered, self._state = self._filter(self._sections, block, axis=1, zi=self._state)
        return filtered
