"""Tables of an artifact, for `inspect` and for the commands that make or change one."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import get_args

import click

from voirs_vocoder.export.artifact.model_card import CARD_FIGURES, card_cells, mel_text, sampling_text
from voirs_vocoder.export.cli.console import print_table
from voirs_vocoder.runtime.artifact.axes import axis_frames
from voirs_vocoder.runtime.artifact.manifest import (
    EngineEntry,
    Figures,
    GraphEntry,
    Manifest,
    Profile,
    SegmentClass,
)
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.metrics import FIGURES
from voirs_vocoder.runtime.printing import say
from voirs_vocoder.runtime.text import printable

__all__ = ["look_ahead_ms", "print_engines", "print_graphs", "print_summary"]

_MISSING = "-"


def look_ahead_ms(manifest: Manifest) -> float:
    """Future audio that an output sample depends on, in milliseconds."""
    return 1000 * manifest.look_ahead_samples / manifest.sample_rate


def print_summary(artifact: Artifact, signature: str = "none") -> None:
    """Print the content of the manifest for people.

    Args:
        artifact: Opened artifact.
        signature: State of its signature, in words.
    """
    manifest = artifact.manifest
    mel, configured = manifest.mel, manifest.source.configured_mel
    frame_ms = 1000 * manifest.hop_length / manifest.sample_rate
    facts = {
        "model": f"{manifest.family} {manifest.variant}, driver {manifest.driver}",
        "licence": manifest.licence or "not stated",
        "audio": f"{manifest.sample_rate:,} Hz, {manifest.hop_length} samples ({frame_ms:.2f} ms) per frame",
        "mel": f"{mel.id}: {mel_text(mel)}",
        **(
            {} if configured is None else {"": f"set by the export; the configuration states {configured.id}"}
        ),
        "look-ahead": (
            f"{manifest.look_ahead_frames} frames ({manifest.look_ahead_samples:,} samples, "
            f"{look_ahead_ms(manifest):.0f} ms); {manifest.context_frames} frames of past"
        ),
        **({} if manifest.diffusion is None else {"sampling": sampling_text(manifest.diffusion)}),
        **({} if manifest.source.layout is None else {"layout": manifest.source.layout}),
        "checkpoint": f"SHA-256 {manifest.source.checkpoint_sha256 or 'unknown'}",
        "calibration": _calibration(manifest),
        "signature": signature,
        "size": f"{_megabytes(sum(entry.size_bytes for entry in manifest.all_files()))} MB",
        "made with": ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items())),
    }
    say(click.format_filename(artifact.root))
    for name, fact in facts.items():
        say(*textwrap.wrap(printable(fact), 100, initial_indent=f"  {name:<12} ", subsequent_indent=" " * 15))
    say("", "Graphs")
    print_graphs(manifest.graphs)
    if manifest.engines:
        say("", "Engines")
        print_engines(manifest.engines)


def print_graphs(graphs: tuple[GraphEntry, ...]) -> None:
    """A row per graph: size, what `validate` measured if it has run, then what was found when it was made."""
    validated = any(graph.validation for graph in graphs)
    titles = [FIGURES[name].title for name in CARD_FIGURES] if validated else []
    rows = [["graph", "opset", "MB", *titles]]
    for graph in graphs:
        measured = card_cells(graph) if validated else []
        rows.append([graph.name, str(graph.opset), _megabytes(graph.file.size_bytes), *measured])
    print_table(rows)
    if not validated:
        say("Not validated yet: voirs-vocoder validate measures the graphs on recordings.")
    say()
    print_table([["graph", "found when it was made"], *([g.name, _details(g.details)] for g in graphs)])


def print_engines(engines: tuple[EngineEntry, ...]) -> None:
    """A row per engine: what it was built by and for."""
    rows = [["engine", "built by", "GPUs", "MB", "frames"]]
    for engine in engines:
        gpus = " ".join(f"sm{value}" for value in engine.compute_capabilities)
        frames = " ".join(_frames(engine, profile) for profile in engine.profiles)
        rows.append(
            [
                f"{engine.role}.{engine.precision}",
                f"{engine.backend} {engine.backend_version}",
                gpus,
                _megabytes(engine.file.size_bytes),
                frames,
            ]
        )
    print_table(rows)


def _calibration(manifest: Manifest) -> str:
    calibration = manifest.calibration
    if calibration is None:
        return "none"
    text = (
        f"{len(calibration.recordings)} recordings, {calibration.segments} segments of "
        f"{calibration.segment_frames} frames"
    )
    if calibration.segment_list is None:
        return text
    counts = Counter(segment.chosen_for for segment in calibration.segment_list)
    classes = ", ".join(f"{counts[name]} {name}" for name in get_args(SegmentClass))
    return f"{text}: {classes}; list SHA-256 {calibration.segment_list_sha256}"


def _frames(engine: EngineEntry, profile: Profile) -> str:
    """The range of mel frames of a profile, such as 64..1024."""
    ranges = (
        (axis_frames(axis, low, engine.hop_length), axis_frames(axis, high, engine.hop_length))
        for tensor in engine.inputs
        for axis, low, high in zip(
            tensor.shape, profile.minimum[tensor.name], profile.maximum[tensor.name], strict=True
        )
    )
    return next((f"{low}..{high}" for low, high in ranges if low is not None), _MISSING)


def _details(details: Figures) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in details.items())


def _plain(value: float | str | bool | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"
