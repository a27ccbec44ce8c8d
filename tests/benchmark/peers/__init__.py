"""The benchmark against peers, run by `make bench-peers`: the same models in other runtimes and other precisions."""
