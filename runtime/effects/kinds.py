"""The table of effects, by their names in TOML files."""

from __future__ import annotations

from voirs_vocoder.runtime.effects.dynamics import Compressor, GainControl, Gate, Limiter
from voirs_vocoder.runtime.effects.effect import Effect
from voirs_vocoder.runtime.effects.filters import DcRemoval, Equalizer, HighPass, LowPass, Presence
from voirs_vocoder.runtime.effects.reverb import Reverb
from voirs_vocoder.runtime.effects.space import Binaural, Gain, StereoWidth
from voirs_vocoder.runtime.effects.voice import DeEsser, HighFrequencyEnhancement, Warmth

__all__ = ["EFFECTS"]

_KINDS: tuple[type[Effect], ...] = (
    Gain,
    DcRemoval,
    HighPass,
    LowPass,
    Equalizer,
    Presence,
    Warmth,
    HighFrequencyEnhancement,
    Compressor,
    DeEsser,
    Gate,
    GainControl,
    Limiter,
    Reverb,
    StereoWidth,
    Binaural,
)

EFFECTS: dict[str, type[Effect]] = {kind.NAME: kind for kind in _KINDS}
"""Kinds of effects by their names in TOML files."""
