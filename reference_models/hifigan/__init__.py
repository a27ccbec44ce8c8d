"""HiFi-GAN: mel to audio in one pass of transposed convolutions and residual blocks.

`family`: reads checkpoints and describes the graph. `config`: the official configuration. `model`: the generator.
`recipe`: how a small one is trained.
"""
