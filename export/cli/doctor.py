"""`voirs-vocoder doctor`: what this machine has, what really works on it, and how to get the rest."""

from __future__ import annotations

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.runtime.doctor import Diagnosis, Package, diagnose
from voirs_vocoder.runtime.files import indented_json

__all__ = ["command"]


@click.command(
    "doctor",
    cls=Command,
    short_help="Show what is installed and what works here.",
    examples=("voirs-vocoder doctor", "voirs-vocoder doctor --json"),
)
@options.json_flag
def command(as_json: bool) -> None:
    """Show what is installed and which providers work here; each is tried by running a small graph.

    For every provider that does not work, the reason is printed, and what to install.
    """
    diagnosis = diagnose()
    if as_json:
        click.echo(indented_json(diagnosis), nl=False)
        return
    _print_machine(diagnosis)
    click.echo("\nProviders, tried with a small graph")
    rows = [
        [check.name, "yes" if check.works else "no", check.problem or check.backend or ""]
        for check in diagnosis.providers
    ]
    print_table([["provider", "works", "with, or why not"], *rows])
    click.echo("\nTensorRT libraries, for build-engine")
    print_table(
        [
            ["backend", "version", "why not"],
            *(
                [backend.name, backend.version or "-", backend.problem or ""]
                for backend in diagnosis.engine_backends
            ),
        ]
    )
    click.echo("\nPackages")
    print_table([["extra", "packages"], *_extras(diagnosis.packages)])
    for warning in diagnosis.warnings:
        click.echo(f"\nwarning: {warning}")


def _print_machine(diagnosis: Diagnosis) -> None:
    cpu = diagnosis.processor
    if cpu.int8_instructions:
        int8 = f"{', '.join(cpu.int8_instructions)}: INT8 graphs run in integer instructions"
    else:
        int8 = "no VNNI or like instructions: INT8 gains little, and its sums may saturate; run validate here"
    facts = {
        "voirs-vocoder": f"{diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}",
        "CPU": f"{cpu.name}, {cpu.threads} threads",
        "INT8 on CPU": int8,
        "GPU": diagnosis.gpu or "none that CUDA can use",
        "audio files": f"libsndfile {diagnosis.audio_library}: {', '.join(diagnosis.audio_formats)}",
    }
    for name, fact in facts.items():
        click.echo(f"{name:<14} {fact}")


def _extras(packages: tuple[Package, ...]) -> list[list[str]]:
    """A row per extra: its packages with their versions."""
    rows = []
    for extra in dict.fromkeys(package.extra for package in packages):
        members = [package for package in packages if package.extra == extra]
        listed = ", ".join(f"{member.name} {member.version or '(missing)'}" for member in members)
        rows.append([extra or "(always)", listed])
    return rows
