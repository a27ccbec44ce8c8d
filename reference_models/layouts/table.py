"""The table of layouts, and the one way from files to a family's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from voirs_vocoder.reference_models.checkpoints.reading import opened_checkpoint
from voirs_vocoder.reference_models.errors import CheckpointError
from voirs_vocoder.reference_models.layouts.bigvgan import BigVganLayout
from voirs_vocoder.reference_models.layouts.coqui import CoquiHifiGanLayout
from voirs_vocoder.reference_models.layouts.layout import Layout, ReadModel, Seen
from voirs_vocoder.reference_models.layouts.nvidia import (
    DeepLearningExamplesLayout,
    DeepLearningExamplesWaveGlowLayout,
    NemoLayout,
)
from voirs_vocoder.reference_models.layouts.official import OFFICIAL, PICKLED_CLASSES
from voirs_vocoder.reference_models.layouts.package import open_package
from voirs_vocoder.reference_models.layouts.parallel_wavegan import ParallelWaveGanHifiGanLayout
from voirs_vocoder.reference_models.layouts.refused import REFUSED
from voirs_vocoder.reference_models.layouts.speechbrain import SpeechBrainHifiGanLayout
from voirs_vocoder.reference_models.layouts.transformers import (
    FastSpeech2ConformerHifiGanLayout,
    SpeechT5HifiGanLayout,
)
from voirs_vocoder.reference_models.layouts.vocos import VocosLayout

__all__ = ["LAYOUTS", "read_model"]

LAYOUTS: tuple[Layout, ...] = (
    *REFUSED,
    SpeechT5HifiGanLayout(),
    FastSpeech2ConformerHifiGanLayout(),
    ParallelWaveGanHifiGanLayout(),
    CoquiHifiGanLayout(),
    SpeechBrainHifiGanLayout(),
    NemoLayout(),
    DeepLearningExamplesLayout(),
    DeepLearningExamplesWaveGlowLayout(),
    BigVganLayout(),
    VocosLayout(),
    *OFFICIAL,
)
"""Layouts in the order in which they are tried: what looks like another one comes before it."""

_OFFICIAL = {row.family: row for row in OFFICIAL}


def read_model(
    checkpoint: Path, config: Path | None, family: str | None = None, *, normalize: bool = True
) -> ReadModel:
    """Read the files of a published model, whichever trainer wrote them.

    Args:
        checkpoint: File of the weights, or a folder or a tar archive with the weights and their configuration.
        config: Configuration of the model; None takes the one beside the weights.
        family: Name of the family that the model must belong to; None takes the one that is recognized.
        normalize: Whether a network that its trainer feeds with normalized mels normalizes them itself; False takes the
            mels as they are.

    Raises:
        CheckpointError: The weights cannot be used, nothing is recognized, or the model is of a kind that is refused or
            of another family.
        ModelConfigError: The configuration is missing or malformed.
    """
    official = _OFFICIAL.get(family) if family is not None else None
    package = open_package(checkpoint, config, None if official is None else official.config_name)
    if config is not None:
        # A file that was named is read before the weights are looked at.
        package.config()
    opened = opened_checkpoint(package.path, package.weights, package.sha256, module_classes=PICKLED_CLASSES)
    seen = Seen(package, opened, normalize)
    layout = next((row for row in LAYOUTS if row.recognizes(seen)), official)
    if layout is None:
        # A configuration that is missing or malformed explains it better than any guess.
        package.config()
        known = ", ".join(row.name for row in LAYOUTS if row.family)
        raise CheckpointError(
            f"{package.path}: a model of a known trainer is needed, got another one; known: {known}"
        )
    if family is not None and layout.family not in ("", family):
        raise CheckpointError(
            f"{package.path}: this is {layout.name}, a checkpoint of the family {layout.family}, got family {family}; "
            f"export it as {layout.family}"
        )
    return replace(layout.read(seen), normalize=normalize)
