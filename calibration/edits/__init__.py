"""Graph edits of calibration, each a named pass with a check before and after.

`run` applies passes to a model, `reading` and `writer` serve them; every other module holds one edit.
"""
