"""Presets: chains of effects that are part of the package."""

from __future__ import annotations

from pathlib import Path

from voirs_vocoder.runtime.effects.chain import EffectChain, Link
from voirs_vocoder.runtime.effects.chain_toml import read_chain
from voirs_vocoder.runtime.effects.dynamics import Compressor, GainControl, Gate, Limiter
from voirs_vocoder.runtime.effects.filters import DcRemoval, Equalizer, HighPass, LowPass, Peak, Presence
from voirs_vocoder.runtime.effects.reverb import Reverb
from voirs_vocoder.runtime.effects.space import Binaural, StereoWidth
from voirs_vocoder.runtime.effects.voice import DeEsser, HighFrequencyEnhancement, Warmth
from voirs_vocoder.runtime.errors import InputError

__all__ = ["PRESETS", "load_chain"]

_CHAINS = (
    # Even level, less rumble and sibilance, no sample beyond -1 dB: for most speech.
    EffectChain(
        (
            Link(HighPass(cutoff_hz=70.0)),
            Link(Compressor()),
            Link(DeEsser()),
            Link(Presence()),
            Link(Limiter()),
        ),
        "speech",
    ),
    # Dense and loud, for radio and podcasts.
    EffectChain(
        (
            Link(DcRemoval()),
            Link(HighPass(cutoff_hz=80.0)),
            Link(Gate()),
            Link(GainControl()),
            Link(Compressor(threshold_db=-20.0, ratio=4.0, make_up_db=4.0)),
            Link(DeEsser()),
            Link(HighFrequencyEnhancement()),
            Link(Limiter()),
        ),
        "broadcast",
    ),
    # Close and full.
    EffectChain(
        (Link(HighPass(cutoff_hz=60.0)), Link(Warmth()), Link(Compressor()), Link(Limiter())), "warm"
    ),
    # The band of a telephone line (ITU-T G.712: 300 to 3,400 Hz), with the resonance of a handset.
    EffectChain(
        (
            Link(HighPass(cutoff_hz=300.0, order=4)),
            Link(LowPass(cutoff_hz=3_400.0, order=6)),
            Link(Equalizer(peaks=(Peak(frequency_hz=1_500.0, gain_db=4.0, q=0.7),))),
            Link(Limiter(ceiling_db=-3.0)),
        ),
        "telephone",
    ),
    # In a room, in stereo.
    EffectChain((Link(StereoWidth(width=0.4)), Link(Reverb(), wet=0.2), Link(Limiter())), "room"),
    # On headphones, from the right.
    EffectChain((Link(Binaural()), Link(Reverb(decay_s=0.25), wet=0.12), Link(Limiter())), "headphones"),
)

PRESETS: dict[str, EffectChain] = {chain.name: chain for chain in _CHAINS}
"""Chains by their names."""


def load_chain(name_or_path: str | Path) -> EffectChain:
    """Take a preset, or read a chain from a TOML file.

    Args:
        name_or_path: Name of a preset (a key of `PRESETS`), or path of a .toml file.

    Returns:
        The chain.

    Raises:
        InputError: The argument is neither, or the file is missing or no valid chain.
    """
    if str(name_or_path) in PRESETS:
        return PRESETS[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix.lower() != ".toml":
        raise InputError(
            f"effects must be a preset or a .toml file, got {name_or_path}; presets: {', '.join(PRESETS)}"
        )
    return read_chain(path)
