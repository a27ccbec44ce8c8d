"""Validates an artifact and keeps the report and its page in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from voirs_vocoder.export.artifact.change import require_changeable
from voirs_vocoder.export.report_page import render_page, require_drawing
from voirs_vocoder.export.report_page.columns import PAGE_RECORDINGS
from voirs_vocoder.export.report_page.validation import validation_page
from voirs_vocoder.export.validation.kept_audio import KeptAudio
from voirs_vocoder.export.validation.report import PAGE_PATH, REPORT_PATH, Report
from voirs_vocoder.export.validation.validate import record_validation, validate_artifact
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress, silent

__all__ = ["validate_and_record"]

_LOG = logging.getLogger(__name__)


def validate_and_record(
    root: Path,
    speech: Path,
    *,
    checkpoint: Path | None = None,
    config: Path | None = None,
    providers: Sequence[str] | None = None,
    kept_audio: KeptAudio | None = None,
    progress: Progress = silent,
) -> Report:
    """Validate an artifact, and keep report and page in it; no page, and a warning, where nothing can draw.

    Args:
        root: Directory of the artifact.
        speech: Folder of recordings, none of which was calibrated on.
        checkpoint: Source checkpoint, whose PyTorch model is the reference; None takes the FP32 graph as reference.
        config: Configuration of the checkpoint; None looks beside the checkpoint.
        providers: Names of the providers to measure on, such as `cpu`; None measures on every one that is installed
            and runs on a CPU.
        kept_audio: Keeps the audio for the page, and longer for the caller; None keeps it as long as it is needed.
        progress: Receives what is being done.

    Raises:
        InputError: There are no recordings, one was calibrated on, the checkpoint is not the artifact's, or the
            artifact cannot be written.
        ArtifactError: The artifact is damaged, or another process is changing it.
    """
    require_changeable(root, (REPORT_PATH, PAGE_PATH))
    try:
        require_drawing()
    except InputError as error:
        _LOG.warning("no report page: %s", error)
        report = validate_artifact(
            root,
            speech,
            checkpoint=checkpoint,
            config=config,
            providers=providers,
            kept_audio=kept_audio,
            progress=progress,
        )
        record_validation(root, report)
        return report
    with KeptAudio(PAGE_RECORDINGS) if kept_audio is None else nullcontext(kept_audio) as kept:
        report = validate_artifact(
            root,
            speech,
            checkpoint=checkpoint,
            config=config,
            providers=providers,
            kept_audio=kept,
            progress=progress,
        )
        content = validation_page(report, Artifact.open(root).manifest, kept)
        page = render_page(content, progress=progress)
    record_validation(root, report, page)
    return report
