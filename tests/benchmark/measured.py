"""`python -m tests.benchmark.measured`: artifacts/MEASURED.md from the figures in artifacts/measured.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from artifacts.shipped import ARTIFACTS
from tests.benchmark.report import ProjectReport, finding_table, speed_table, target_table
from voirs_vocoder.runtime.files import indented_json

__all__ = [
    "JSON_PATH",
    "PAGE_PATH",
    "MeasuredFigures",
    "RecordedTable",
    "main",
    "measured_page",
    "with_benchmark",
]

JSON_PATH = ARTIFACTS / "measured.json"
"""The figures."""

PAGE_PATH = ARTIFACTS / "MEASURED.md"
"""The page that people read."""

_SUPERSEDED = ("cases", "findings", "rtf", "rtf-cases", "targets")
_INTRODUCTION = """\
# Measured

Made from `measured.json` by `python -m tests.benchmark.measured`; edit the figures there, never here. `make bench`
measures speed, memory, streams and targets, and `make measured` takes over its report. The other tables need
recordings that are not shipped; above each stands the day on which it was recorded."""


class RecordedTable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table that somebody measured and recorded.

    Attributes:
        id: Key of the table, unique in the file.
        title: Heading of the table.
        text: What was measured and how, as Markdown.
        date: Day of the measurement, such as `2026-01-31`.
        command: Command that measures it; empty when there is no single one.
        columns: Header of each column.
        rows: Cells of each row, as Markdown, one per column.
    """

    id: str
    title: str
    text: str
    date: str
    command: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class MeasuredFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All measured figures of the project.

    Attributes:
        benchmark: The last report of the project's benchmark that was taken over; None before the first.
        tables: The recorded tables, in the order of the page.
    """

    benchmark: ProjectReport | None
    tables: tuple[RecordedTable, ...]


def with_benchmark(measured: MeasuredFigures, report: ProjectReport) -> MeasuredFigures:
    """Take over a report of the benchmark, which replaces the tables that were recorded in its place.

    Args:
        measured: The figures so far.
        report: A report of all cases.
    """
    kept = tuple(table for table in measured.tables if table.id not in _SUPERSEDED)
    return MeasuredFigures(benchmark=report, tables=kept)


def measured_page(measured: MeasuredFigures) -> str:
    """The page, as Markdown.

    Args:
        measured: The figures.
    """
    parts = [_INTRODUCTION]
    if measured.benchmark is not None:
        parts.extend(_benchmark_parts(measured.benchmark))
    for table in measured.tables:
        recorded = f"Recorded on {table.date}" + (f" with `{table.command}`." if table.command else ".")
        parts.append(f"## {table.title}\n\n{recorded} {table.text}".rstrip())
        parts.append(_markdown_table(table.columns, table.rows))
    return "\n\n".join(parts) + "\n"


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
def main(report: Path | None) -> None:
    """Write artifacts/MEASURED.md; with REPORT, a report.json of the benchmark, take over its figures first."""
    measured = msgspec.json.decode(JSON_PATH.read_bytes(), type=MeasuredFigures)
    if report is not None:
        measured = with_benchmark(measured, msgspec.json.decode(report.read_bytes(), type=ProjectReport))
        JSON_PATH.write_bytes(indented_json(measured))
    PAGE_PATH.write_text(measured_page(measured), encoding="utf-8")
    click.echo(f"{PAGE_PATH}")


def _benchmark_parts(report: ProjectReport) -> list[str]:
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    where = (
        f"`make bench` on {report.date}: {machine.processor}, {machine.cores} cores, {machine.system}, "
        f"{report.threads} threads, {versions}. Contenders take turns within each round; medians with "
        "95% bootstrap intervals. All models but V2 have random weights in the published sizes."
    )
    parts = ["## The targets that users set", where, _table(target_table(report))]
    parts += ["## Speed, memory and streams", _table(finding_table(report))]
    parts += ["## Seconds of compute per second of audio", "Of the diffusion models, per step."]
    return [*parts, _table(speed_table(report))]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return _markdown_table(rows[0], rows[1:])


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(columns), "|" + "---|" * len(columns), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


if __name__ == "__main__":
    main()
