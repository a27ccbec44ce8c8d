"""Columns, figures and provenance that the pages of `validate` and `compare` share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from voirs_vocoder.export.report_page import PageColumn
from voirs_vocoder.export.validation.gates import GateResult, gate_text
from voirs_vocoder.runtime.distribution import OWN_NAME, package_version
from voirs_vocoder.runtime.machine import this_machine
from voirs_vocoder.runtime.metrics import FIGURES, figure_text

__all__ = ["PAGE_RECORDINGS", "figure_column", "figure_texts", "gate_reasons", "this_place"]

PAGE_RECORDINGS = 10
"""Number of recordings that a page plays; more would make it too large to send."""

_PACKAGES = (OWN_NAME, "onnxruntime", "openvino", "torch", "numpy")


def figure_column(name: str) -> PageColumn:
    """The column of a figure."""
    column = FIGURES[name]
    return PageColumn(column.title, column.meaning)


def figure_texts(figures: Mapping[str, float | None], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Title and value of each figure that was measured."""
    for name in names:
        value = figures.get(name)
        if value is not None:
            yield FIGURES[name].title, figure_text(name, value)


def gate_reasons(results: Sequence[GateResult]) -> tuple[str, ...]:
    """A line for each gate that did not pass."""
    return tuple(gate_text(result) for result in results if result.status != "passed")


def this_place() -> Iterator[tuple[str, str]]:
    """Name and text of machine and package versions of the measurement."""
    machine = this_machine()
    yield "Machine", f"{machine.system}, Python {machine.python}"
    versions = ((package, package_version(package)) for package in _PACKAGES)
    yield "Versions", ", ".join(f"{package} {number}" for package, number in versions if number is not None)
