"""Vocos: mel to audio in one pass of ConvNeXt blocks at the rate of the mel, and an inverse Fourier transform.

`family`: reads checkpoints and describes the graph. `config`: the configuration. `model`: the network.
`recipe`: how a small one is trained.
"""
