"""Graphs: made from PyTorch modules, checked against them, and the derived ones around the network."""
