"""`voirs-vocoder doctor`: what this machine has, what really works on it, and how to get the rest."""

from __future__ import annotations

import click

from voirs_vocoder.export.cli import options
from voirs_vocoder.export.cli.command import Command
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.runtime.doctor import Diagnosis, Package, ProviderCheck, diagnose
from voirs_vocoder.runtime.files import indented_json
from voirs_vocoder.runtime.printing import say, say_json
from voirs_vocoder.runtime.trial_graph import TRIAL_PRECISIONS

__all__ = ["command"]


@click.command(
    "doctor",
    cls=Command,
    short_help="Show what is installed and what works here.",
    examples=("voirs-vocoder doctor", "voirs-vocoder doctor --json"),
)
@options.json_flag
def command(as_json: bool) -> None:
    """Show what is installed and which providers work here; each is tried with a small convolution in each precision.

    For every provider that does not work, the reason is printed, and what to install.
    """
    diagnosis = diagnose()
    if as_json:
        say_json(indented_json(diagnosis))
        return
    _print_machine(diagnosis)
    say("", "Providers, tried with a small convolution")
    rows = [_provider_row(check) for check in diagnosis.providers]
    print_table([["provider", "works", *TRIAL_PRECISIONS, "with, or why not"], *rows])
    say("", "TensorRT libraries, for build-engine")
    print_table(
        [
            ["backend", "version", "why not"],
            *(
                [backend.name, backend.version or "-", backend.problem or ""]
                for backend in diagnosis.engine_backends
            ),
        ]
    )
    say("", "Packages")
    print_table([["extra", "packages"], *_extras(diagnosis.packages)])
    for warning in diagnosis.warnings:
        say("", f"warning: {warning}")


def _print_machine(diagnosis: Diagnosis) -> None:
    cpu = diagnosis.processor
    if cpu.int8_instructions:
        int8 = f"{', '.join(cpu.int8_instructions)}: INT8 graphs run in integer instructions"
    else:
        int8 = "no VNNI or like instructions: INT8 gains little, and its sums may saturate; run validate here"
    if cpu.bf16_instructions:
        bf16 = f"{', '.join(cpu.bf16_instructions)}: provider openvino runs BF16 graphs"
    else:
        bf16 = "no BF16 instructions: BF16 graphs are refused; use FP32 or INT8"
    facts = {
        "voirs-vocoder": f"{diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}",
        "CPU": f"{cpu.name}, {cpu.threads} threads",
        "INT8 on CPU": int8,
        "BF16 on CPU": bf16,
        "GPU": _gpu(diagnosis),
        "cuDNN": diagnosis.cudnn or "not found",
        "audio files": f"libsndfile {diagnosis.audio_library}: {', '.join(diagnosis.audio_formats)}",
    }
    for name, fact in facts.items():
        say(f"{name:<14} {fact}")


def _gpu(diagnosis: Diagnosis) -> str:
    gpu = diagnosis.gpu
    if gpu is None:
        return "none that an NVIDIA driver knows"
    return (
        f"{gpu.name}, compute capability {gpu.compute_capability}, driver {gpu.driver} for CUDA {gpu.cuda} and before, "
        f"{gpu.free_bytes / 2**30:.1f} of {gpu.memory_bytes / 2**30:.1f} GiB free"
    )


def _provider_row(check: ProviderCheck) -> list[str]:
    tried = {each.precision: "yes" if each.problem is None else "no" for each in check.precisions}
    precisions = [tried.get(precision, "-") for precision in TRIAL_PRECISIONS]
    return [check.name, "yes" if check.works else "no", *precisions, check.problem or check.backend or ""]


def _extras(packages: tuple[Package, ...]) -> list[list[str]]:
    """A row per extra: its packages with their versions."""
    rows = []
    for extra in dict.fromkeys(package.extra for package in packages):
        members = [package for package in packages if package.extra == extra]
        listed = ", ".join(f"{member.name} {member.version or '(missing)'}" for member in members)
        rows.append([extra or "(always)", listed])
    return rows
