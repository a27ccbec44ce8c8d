"""The files of an artifact that follow from its manifest: model card, bill of materials, provenance."""

from __future__ import annotations

from voirs_vocoder.export.artifact.model_card import MODEL_CARD_NAME, model_card
from voirs_vocoder.export.artifact.provenance import PROVENANCE_NAME, provenance
from voirs_vocoder.export.artifact.sbom import SBOM_NAME, sbom
from voirs_vocoder.export.artifact.writer import with_files
from voirs_vocoder.runtime.artifact.manifest import Manifest

__all__ = ["with_documents"]


def with_documents(manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with its documents listed, and their bytes by path.

    Args:
        manifest: Manifest that the documents describe; it is not changed.
    """
    documents = {
        MODEL_CARD_NAME: model_card(manifest).encode(),
        SBOM_NAME: sbom(manifest),
        PROVENANCE_NAME: provenance(manifest),
    }
    return with_files(manifest, documents), documents
