"""Diffusion families: DiffWave, and a U-Net with the same inputs and outputs."""
