"""BigVGAN: mel to audio in one pass, with periodic activations that are computed at twice the rate.

`family`: reads checkpoints and describes the graph. `config`: the official configuration. `model`: the generator.
`activation`: the activations, with their filters.
"""
