"""What the project's own benchmark found, and how it stands to the goals and to the targets that users set."""

from __future__ import annotations

from typing import Literal

import msgspec

from voirs_vocoder.export.bench.paired import Estimate
from voirs_vocoder.export.bench.report import estimate_cells
from voirs_vocoder.runtime.machine import Machine

__all__ = [
    "Finding",
    "ProjectReport",
    "Target",
    "encode_project",
    "finding_table",
    "speed_table",
    "target_table",
]

Verdict = Literal["met", "not met", "not measurable here"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and its goal.

    Attributes:
        name: What was measured.
        value: Median or single measurement, in `unit`.
        unit: Such as `MB`; empty for ratios.
        estimate: The interval and number of pairs of a repeated measurement; None for a single one.
        goal: None when the figure only informs.
        bound: `max`: the value must not exceed the goal; `min`: it must reach it.
    """

    name: str
    value: float
    unit: str = ""
    estimate: Estimate | None = None
    goal: float | None = None
    bound: Literal["max", "min"] = "max"

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.bound == "max" else self.value >= self.goal


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A target of the user.

    Attributes:
        target: In words.
        measured: In words; empty when nothing was.
        verdict: How it stands.
        reason: Why, or what was measured.
    """

    target: str
    measured: str
    verdict: Verdict
    reason: str


class ProjectReport(msgspec.Struct, frozen=True, kw_only=True):
    """The project's benchmark.

    Attributes:
        machine: What was measured on.
        versions: Of the backends, by package name.
        threads: Of every backend.
        audio_s: Length of the utterance that speed was measured on, in seconds.
        rtf: Variant to contender to seconds of compute per second of audio.
        findings: Figures with goals.
        targets: The user's targets.
    """

    machine: Machine
    versions: dict[str, str]
    threads: int
    audio_s: float
    rtf: dict[str, dict[str, Estimate]]
    findings: tuple[Finding, ...]
    targets: tuple[Target, ...]


def encode_project(report: ProjectReport) -> bytes:
    """The report as indented JSON, each finding with its verdict."""
    document = msgspec.to_builtins(report)
    for built, finding in zip(document["findings"], report.findings, strict=True):
        built["met"] = finding.met
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def speed_table(report: ProjectReport) -> list[list[str]]:
    """RTF per variant and contender, as rows of text, the first being the header."""
    rows = [
        [variant.upper() if len(variant) == 2 else variant, name, *estimate_cells(estimate, ".4f")]
        for variant, times in report.rtf.items()
        for name, estimate in times.items()
    ]
    return [["model", "contender", "RTF", "95% interval", "pairs"], *rows]


def finding_table(report: ProjectReport) -> list[list[str]]:
    """The findings as rows of text, the first being the header."""
    rows = []
    for finding in report.findings:
        form = ".3f" if finding.estimate else ".1f"
        cells = ("", "") if finding.estimate is None else estimate_cells(finding.estimate, form)[1:]
        sign = "<=" if finding.bound == "max" else ">="
        rows.append(
            [
                finding.name,
                f"{finding.value:{form}} {finding.unit}".rstrip(),
                *cells,
                "" if finding.goal is None else f"{sign} {finding.goal:g}",
                {True: "met", False: "not met", None: ""}[finding.met],
            ]
        )
    return [["figure", "measured", "95% interval", "pairs", "goal", "verdict"], *rows]


def target_table(report: ProjectReport) -> list[list[str]]:
    """The user's targets as rows of text, the first being the header."""
    rows = [[target.target, target.measured, target.verdict, target.reason] for target in report.targets]
    return [["target", "measured", "verdict", "why"], *rows]
