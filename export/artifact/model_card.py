"""MODEL_CARD.md: the manifest for people."""

from __future__ import annotations

import msgspec

from voirs_vocoder.export.artifact.writer import file_entry
from voirs_vocoder.runtime.artifact.manifest import Diffusion, GraphEntry, Manifest
from voirs_vocoder.runtime.diffusion.choice import FAST

__all__ = ["MODEL_CARD_NAME", "model_card", "sampling_text", "with_model_card"]

MODEL_CARD_NAME = "MODEL_CARD.md"

_FIGURES = (
    ("SNR against the reference, dB", "snr_db", ".1f"),
    ("PESQ-WB", "pesq_wb", ".3f"),
    ("PESQ lost", "pesq_lost", "+.3f"),
    ("STOI", "stoi", ".3f"),
    ("LSD", "lsd", ".3f"),
)


def model_card(manifest: Manifest) -> str:
    """The model card of an artifact, as Markdown."""
    mel = manifest.mel
    look_ahead_ms = 1000 * manifest.look_ahead_samples / manifest.sample_rate
    lines = [
        f"# {manifest.family} {manifest.variant}",
        "",
        f"Mel spectrogram to speech, {manifest.sample_rate} Hz, mono. Licence of the weights: "
        f"{manifest.licence or 'not stated'}.",
        "",
        "## Input",
        "",
        f"`mel`: float32 [batch, {mel.n_mels}, frames], convention `{mel.id}`: FFT {mel.n_fft}, window "
        f"{mel.win_length}, hop {mel.hop_length}, {mel.n_mels} {mel.mel_scale} bands from {mel.f_min_hz:g} to "
        f"{mel.f_max_hz:g} Hz, compression `{mel.compression}`, floor {mel.floor:g}. A mel of another convention "
        "gives noise.",
        "",
        "## Behaviour",
        "",
        f"One frame gives {manifest.hop_length} samples. A frame's audio depends on {manifest.context_frames} frames "
        f"before it and {manifest.look_ahead_frames} after it ({manifest.look_ahead_samples} samples, "
        f"{look_ahead_ms:.0f} ms){' at each step' if manifest.diffusion else ''}.",
        *([] if manifest.diffusion is None else ["", f"Sampling: {sampling_text(manifest.diffusion)}."]),
        "",
        "## Graphs",
        "",
        "| graph | MB | " + " | ".join(title for title, _, _ in _FIGURES) + " |",
        "|---|---|" + "---|" * len(_FIGURES),
        *(_graph_row(graph) for graph in manifest.graphs),
        "",
        "Figures are means over the recordings in `validation/report.json`; `-` means not validated yet.",
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
            f"| `{engine.file.path}` | {engine.backend} {engine.backend_version} | "
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
        f"Checkpoint SHA-256: `{manifest.source.checkpoint_sha256 or 'none'}`. Made with "
        + ", ".join(f"{name} {number}" for name, number in manifest.tools.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def sampling_text(diffusion: Diffusion) -> str:
    """The default sampling of a diffusion model in words."""
    fast = 0 if diffusion.fast_betas is None else len(diffusion.fast_betas)
    steps = fast if diffusion.sampler == FAST else diffusion.steps
    count = "" if steps is None else f", {steps} steps"
    guidance = ", takes guidance" if diffusion.drops_conditioning else ""
    return f"{diffusion.sampler}{count}; trained with {len(diffusion.training_betas)} steps{guidance}"


def with_model_card(manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with its model card listed, and the card's bytes by path."""
    data = model_card(manifest).encode()
    others = tuple(entry for entry in manifest.files if entry.path != MODEL_CARD_NAME)
    listed = msgspec.structs.replace(manifest, files=(*others, file_entry(MODEL_CARD_NAME, data)))
    return listed, {MODEL_CARD_NAME: data}


def _graph_row(graph: GraphEntry) -> str:
    figures = graph.validation or {}
    cells = []
    for _, name, form in _FIGURES:
        value = figures.get(name)
        cells.append(format(value, form) if isinstance(value, float) else "-")
    return f"| `{graph.name}` | {graph.file.size_bytes / 1e6:.1f} | " + " | ".join(cells) + " |"
