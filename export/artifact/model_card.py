"""MODEL_CARD.md: the manifest in a form for people."""

from __future__ import annotations

import re

from voirs_vocoder.runtime.artifact.manifest import Diffusion, GraphEntry, Manifest
from voirs_vocoder.runtime.diffusion.samplers import FAST
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.metrics import FIGURES, figure_text
from voirs_vocoder.runtime.text import printable

__all__ = [
    "CARD_FIGURES",
    "MODEL_CARD_NAME",
    "card_cells",
    "mel_text",
    "model_card",
    "sampling_text",
]

MODEL_CARD_NAME = "MODEL_CARD.md"

# What Markdown or HTML takes for more than text within a line; a colon makes links.
_MARKUP = re.compile(r"[\\`*_\[\]<>|~$&:@]")

CARD_FIGURES = ("snr_db", "pesq_wb", "pesq_lost", "stoi", "lsd")
"""Figures of a graph that the model card and `inspect` show, if `validate` has measured them."""


def model_card(manifest: Manifest) -> str:
    """Model card of an artifact, as Markdown.

    Args:
        manifest: Manifest of the artifact.
    """
    mel = manifest.mel
    look_ahead_ms = 1000 * manifest.look_ahead_samples / manifest.sample_rate
    lines = [
        f"# {_text(manifest.family)} {_text(manifest.variant)}",
        "",
        f"Mel spectrogram to speech, {manifest.sample_rate} Hz, mono. License of the weights: "
        f"{_text(manifest.licence or 'not stated')}.",
        "",
        "## Input",
        "",
        f"`mel`: float32 [batch, {mel.n_mels}, frames], convention {_code(mel.id)}: {mel_text(mel)}. "
        f"{_override_text(manifest)}A mel of another convention gives noise.",
        "",
        "## Behaviour",
        "",
        f"One frame gives {manifest.hop_length} samples. A frame's audio depends on {manifest.context_frames} frames "
        f"before it and {manifest.look_ahead_frames} after it ({manifest.look_ahead_samples} samples, "
        f"{look_ahead_ms:.0f} ms){' at each step' if manifest.diffusion else ''}.",
        *(
            []
            if manifest.diffusion is None
            else ["", f"Sampling: {_text(sampling_text(manifest.diffusion))}."]
        ),
        "",
        "## Graphs",
        "",
        "| graph | MB | " + " | ".join(FIGURES[name].title for name in CARD_FIGURES) + " |",
        "|---|---|" + "---|" * len(CARD_FIGURES),
        *(_graph_row(graph) for graph in manifest.graphs),
        "",
        "Figures are means over the recordings in `validation/report.json`; `-` means not validated yet. SNR is "
        "against the reference model, the other figures are against the recordings.",
    ]
    if manifest.engines:
        lines += [
            "",
            "## Engines",
            "",
            "| engine | backend | compute capabilities | MB |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {_code(engine.file.path)} | {engine.backend} {_text(engine.backend_version)} | "
            f"{', '.join(map(str, engine.compute_capabilities))} | {engine.file.size_bytes / 1e6:.1f} |"
            for engine in manifest.engines
        ]
    if manifest.calibration:
        calibration = manifest.calibration
        lines += [
            "",
            "## Calibration",
            "",
            f"INT8 ranges were measured on {calibration.segments} segments of {calibration.segment_frames} frames from "
            f"{len(calibration.recordings)} recordings, listed with their hashes in `manifest.json`.",
        ]
    lines += [
        "",
        "## Provenance",
        "",
        f"Checkpoint SHA-256: {_code(manifest.source.checkpoint_sha256 or 'none')}. Made with "
        + ", ".join(f"{_text(name)} {_text(number)}" for name, number in manifest.tools.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def card_cells(graph: GraphEntry) -> list[str]:
    """Values of `CARD_FIGURES` of a graph as text; `-` for a figure that was not measured.

    Args:
        graph: Entry of the graph in the manifest.
    """
    measured = graph.validation or {}
    return [figure_text(name, measured.get(name)) for name in CARD_FIGURES]


def mel_text(mel: MelConvention) -> str:
    """Parameters of a mel convention in words, without its id.

    Args:
        mel: Convention to describe.
    """
    window = f"{'symmetric ' if mel.window_symmetric else ''}window {mel.win_length}"
    padding = "no padding" if mel.padding == "none" else f"{mel.framing} frames, {mel.padding} padding"
    parts = [
        f"FFT {mel.n_fft}, {window}, hop {mel.hop_length}, {padding}",
        f"{mel.n_mels} bands from {mel.f_min_hz:g} to {mel.f_max_hz:g} Hz, scale {mel.mel_scale}, norm {mel.mel_norm}",
        *(["powers"] if mel.spectrum == "power" else []),
        f"compression {mel.compression}, floor {mel.floor:g}{' added' if mel.floor_mode == 'add' else ''}",
    ]
    if (mel.scale, mel.offset) != (1.0, 0.0):
        parts.append(f"times {mel.scale:g} plus {mel.offset:g}")
    if mel.limits is not None:
        parts.append(f"limited to {mel.limits[0]:g} to {mel.limits[1]:g}")
    return ", ".join(parts)


def _override_text(manifest: Manifest) -> str:
    configured = manifest.source.configured_mel
    if configured is None:
        return ""
    return f"The export was given this convention; the model's configuration states {_code(configured.id)}. "


def sampling_text(diffusion: Diffusion) -> str:
    """Default sampling of a diffusion model in words.

    Args:
        diffusion: The manifest's record of the model.
    """
    fast = 0 if diffusion.fast_betas is None else len(diffusion.fast_betas)
    steps = fast if diffusion.sampler == FAST else diffusion.steps
    count = "" if steps is None else f", {steps} steps"
    guidance = ", takes guidance" if diffusion.drops_conditioning else ""
    return f"{diffusion.sampler}{count}; trained with {len(diffusion.training_betas)} steps{guidance}"


def _text(text: str) -> str:
    """Text of the manifest as Markdown that shows it as it is, on one line."""
    return _MARKUP.sub(_escaped, printable(text))


def _escaped(match: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(match[0], "\\" + match[0])


def _code(text: str) -> str:
    """Text of the manifest in fixed width; a code span has no escape for the backtick that ends it, nor for a bar."""
    return "`" + (printable(text) or "-").replace("`", "'").replace("|", "/") + "`"


def _graph_row(graph: GraphEntry) -> str:
    cells = " | ".join(card_cells(graph))
    return f"| `{graph.name}` | {graph.file.size_bytes / 1e6:.1f} | {cells} |"
