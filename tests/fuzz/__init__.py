"""A fuzzer of every reader: mutated files give a result or one of our errors in one line, within time and memory.

`python -m tests.fuzz` runs all targets; `make fuzz SECONDS=600` runs them for longer.
"""
