"""What the benchmark found, and how it compares with the goals and with the targets that users set."""

from __future__ import annotations

from typing import Literal

import msgspec

from tests.benchmark.goals import Finding
from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.export.bench.report import estimate_cells
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.machine import Machine

__all__ = [
    "ProjectReport",
    "Target",
    "Verdict",
    "encode_project",
    "finding_table",
    "speed_table",
    "target_table",
]

Verdict = Literal["met", "not met", "not measurable here"]

_VERDICTS = {True: "met", False: "not met", None: ""}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A target that users set.

    Attributes:
        target: The target, in words.
        measured: The measured figures, in words; empty when nothing was measured.
        verdict: Whether the target is met.
        reason: Why it is not met, or how it was measured.
    """

    target: str
    measured: str
    verdict: Verdict
    reason: str


class ProjectReport(msgspec.Struct, frozen=True, kw_only=True):
    """The project's benchmark.

    Attributes:
        date: Day of the run, such as `2026-01-31`, in UTC.
        machine: The machine that was measured on.
        versions: Versions of the backends, by package name.
        threads: Number of threads of every backend.
        rtf: Model to contender to seconds of compute per second of audio; of diffusion models for a single step.
        findings: Figures with their goals.
        targets: The targets that users set.
    """

    date: str
    machine: Machine
    versions: dict[str, str]
    threads: int
    rtf: dict[str, dict[str, Estimate]]
    findings: tuple[Finding, ...]
    targets: tuple[Target, ...]


def encode_project(report: ProjectReport) -> bytes:
    """The report as indented JSON, each finding with its verdict in `met`.

    Args:
        report: The report.
    """
    document = msgspec.to_builtins(report)
    for built, finding in zip(document["findings"], report.findings, strict=True):
        built["met"] = finding.met
    return indented_json(document)


def speed_table(report: ProjectReport) -> list[list[str]]:
    """RTF of each model and contender, as rows of text, the first being the header.

    Args:
        report: The report.
    """
    rows = [
        [model, name, *estimate_cells(estimate, ".4f")]
        for model, times in report.rtf.items()
        for name, estimate in times.items()
    ]
    return [["model", "contender", "RTF", "95% interval", "pairs"], *rows]


def finding_table(report: ProjectReport) -> list[list[str]]:
    """The findings as rows of text, the first being the header.

    Args:
        report: The report.
    """
    rows = []
    for finding in report.findings:
        form = ".3f" if finding.estimate else ".1f"
        cells = ("", "") if finding.estimate is None else estimate_cells(finding.estimate, form)[1:]
        goal = finding.goal
        rows.append(
            [
                finding.name,
                f"{finding.value:{form}} {finding.unit}".rstrip(),
                *cells,
                "" if goal is None else f"{'<=' if goal.bound == 'max' else '>='} {goal.limit:g}",
                _VERDICTS[finding.met],
            ]
        )
    return [["figure", "measured", "95% interval", "pairs", "goal", "verdict"], *rows]


def target_table(report: ProjectReport) -> list[list[str]]:
    """The users' targets as rows of text, the first being the header.

    Args:
        report: The report.
    """
    rows = [[target.target, target.measured, target.verdict, target.reason] for target in report.targets]
    return [["target", "measured", "verdict", "why"], *rows]
