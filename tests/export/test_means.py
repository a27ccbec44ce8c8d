"""Means over recordings for some of which a figure is undefined."""

from __future__ import annotations

import math

import pytest

from voirs_vocoder.export.validation.means import mean_figures, too_seldom_defined, undefined_lines


@pytest.mark.parametrize(
    ("values", "mean", "too_seldom"),
    [
        ([1.0, 2.0, 3.0], 2.0, False),
        ([1.0, 3.0, math.nan], 2.0, False),
        ([1.0, math.nan], 1.0, False),
        ([1.0, math.nan, math.nan], None, True),
        ([math.nan], None, True),
        ([None, None], None, False),
        ([1.0, None], None, False),
        ([1.0, math.inf], math.inf, False),
    ],
)
def test_the_mean_is_that_of_the_defined_values_if_they_are_half_at_least(values, mean, too_seldom):
    rows = [{"pesq_wb": value, "lsd": 1.0} for value in values]
    assert mean_figures(rows) == {"pesq_wb": mean, "lsd": 1.0}
    assert too_seldom_defined(rows) == ({"pesq_wb"} if too_seldom else set())


def test_recordings_with_undefined_figures_are_named():
    lines = list(undefined_lines({"a.wav": {"pesq_wb": 3.0, "stoi": None}, "b.wav": {"pesq_wb": math.nan}}))
    assert lines == ["b.wav: PESQ undefined, as for silence or too little speech; not in the means"]
