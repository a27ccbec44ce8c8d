"""DSP after the vocoder: effects and chains of effects, whose output does not depend on how the signal is cut."""

from voirs_vocoder.runtime.effects.chain import Automation, ChainStream, EffectChain, Link
from voirs_vocoder.runtime.effects.chain_toml import chain_from_toml, read_chain, toml_from_chain
from voirs_vocoder.runtime.effects.effect import Effect
from voirs_vocoder.runtime.effects.kinds import EFFECTS
from voirs_vocoder.runtime.effects.presets import PRESETS, load_chain

__all__ = [
    "EFFECTS",
    "PRESETS",
    "Automation",
    "ChainStream",
    "Effect",
    "EffectChain",
    "Link",
    "chain_from_toml",
    "load_chain",
    "read_chain",
    "toml_from_chain",
]
