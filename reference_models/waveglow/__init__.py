"""WaveGlow: noise and mel to audio through invertible flows."""
