"""Diffusion families: DiffWave, and a U-Net with the same inputs and outputs.

`family`: reads checkpoints and describes the graphs, with `graphs`, which both families share. `diffwave_config` and
`unet_config`: the configurations. `diffwave` and `unet`: the networks. `recipe`: how small ones are trained;
`channels_last` computes DiffWave faster meanwhile.
"""
