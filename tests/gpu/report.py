"""The report of a GPU: figures by section, their goals, and the same as Markdown."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

import msgspec

from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.machine import Machine, this_machine

__all__ = [
    "Figure",
    "GpuReport",
    "Section",
    "load_report",
    "new_report",
    "report_page",
    "with_section",
    "write_report",
]


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A measured figure.

    Attributes:
        name: What was measured, in words.
        value: The figure, or the median of repeated measurements; None where the measurement failed.
        unit: Unit of the value, such as `ms`; empty for a ratio.
        low: Tenth percentile of repeated measurements; None for a single one.
        high: Ninetieth percentile of repeated measurements; None for a single one.
        limit: Limit that the value is compared with; None for a figure that only informs.
        bound: `max`: the value must not exceed the limit; `min`: the value must reach it.
        note: What belongs to the figure, such as the reason of a failure.
    """

    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    bound: Literal["max", "min"] = "max"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value meets the limit; None without a limit. A failed measurement meets none."""
        if self.limit is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.limit if self.bound == "max" else self.value >= self.limit


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one section.

    Attributes:
        date: Day of the measurement, such as `2026-01-31`, in UTC.
        seconds: Duration of the section in seconds.
        figures: The figures, in the order of the measurement.
        complete: Whether the section ran to its end; one that was cut off is measured again.
    """

    date: str
    seconds: float
    complete: bool
    figures: tuple[Figure, ...]


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one GPU.

    Attributes:
        gpu: Name of the GPU, or of the processor in a rehearsal on the CPU.
        versions: Versions of driver and libraries, by name.
        machine: The machine around the GPU.
        sections: Section name to its figures.
    """

    gpu: str
    versions: dict[str, str]
    machine: Machine
    sections: dict[str, Section]


def new_report(gpu: str, versions: dict[str, str]) -> GpuReport:
    """A report without sections.

    Args:
        gpu: Name of the GPU.
        versions: Versions of driver and libraries, by name.
    """
    return GpuReport(gpu=gpu, versions=versions, machine=this_machine(), sections={})


def load_report(path: Path, gpu: str, versions: dict[str, str]) -> GpuReport:
    """The report of an earlier run on the same GPU with the same versions, or a new one.

    Args:
        path: JSON file of the report; it may be missing.
        gpu: Name of the GPU.
        versions: Versions of driver and libraries, by name.
    """
    fresh = new_report(gpu, versions)
    if not path.is_file():
        return fresh
    earlier = msgspec.json.decode(path.read_bytes(), type=GpuReport)
    return earlier if (earlier.gpu, earlier.versions) == (gpu, versions) else fresh


def with_section(
    report: GpuReport, name: str, figures: list[Figure], seconds: float, *, complete: bool
) -> GpuReport:
    """The report with one section replaced.

    Args:
        report: The report so far.
        name: Name of the section.
        figures: Figures of the section.
        seconds: Duration of the section in seconds.
        complete: Whether the section ran to its end.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    section = Section(date=today, seconds=seconds, figures=tuple(figures), complete=complete)
    return msgspec.structs.replace(report, sections={**report.sections, name: section})


def write_report(report: GpuReport, folder: Path) -> None:
    """Write report.json and report.md.

    Args:
        report: The report.
        folder: Folder for both, which exists.
    """
    (folder / "report.json").write_bytes(indented_json(report))
    (folder / "report.md").write_text(report_page(report), encoding="utf-8")


def report_page(report: GpuReport) -> str:
    """The report as Markdown.

    Args:
        report: The report.
    """
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    parts = [f"# {report.gpu}", f"{report.machine.processor}, {report.machine.cores} cores, {versions}."]
    for name, section in report.sections.items():
        parts.append(f"## {name}\n\nMeasured on {section.date} in {section.seconds:.0f} s.")
        rows = ["| figure | measured | spread | goal | verdict |", "|---|---|---|---|---|"]
        rows.extend(_row(figure) for figure in section.figures)
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _row(figure: Figure) -> str:
    measured = "failed" if figure.value is None else f"{figure.value:.4g} {figure.unit}".rstrip()
    spread = "" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
    sign = "<=" if figure.bound == "max" else ">="
    goal = "" if figure.limit is None else f"{sign} {figure.limit:g}"
    verdict = {True: "met", False: "not met", None: ""}[figure.met]
    note = f" ({figure.note})" if figure.note else ""
    cells = (figure.name, measured + note.replace("|", "/"), spread, goal, verdict)
    return f"| {' | '.join(cells)} |"
