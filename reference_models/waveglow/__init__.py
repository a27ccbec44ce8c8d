"""WaveGlow: noise and mel to audio through invertible flows.

`family`: reads checkpoints and describes the graph. `config`: the official configuration. `model`: the flow in both
directions. `synthesis`: the inverse direction as it is exported. `recipe`: how a small one is trained.
"""
