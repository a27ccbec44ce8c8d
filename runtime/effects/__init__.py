"""DSP after the vocoder: effects that give the same whole or in chunks, and chains of them."""
