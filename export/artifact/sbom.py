"""sbom.cdx.json: the bill of materials of an artifact in CycloneDX 1.6, with the model as its main component."""

from __future__ import annotations

import re
import uuid

from voirs_vocoder.export.artifact.model_card import mel_text
from voirs_vocoder.export.artifact.provenance import package_url
from voirs_vocoder.runtime.artifact.manifest import FileEntry, Manifest
from voirs_vocoder.runtime.distribution import OWN_NAME
from voirs_vocoder.runtime.files import indented_json

__all__ = ["SBOM_NAME", "sbom"]

SBOM_NAME = "sbom.cdx.json"

_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_MODEL = "model"
# An SPDX expression by its form; the identifiers in it are not looked up.
_SPDX = re.compile(r"\(*[A-Za-z0-9.+-]+\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.+-]+\)*)*")


def sbom(manifest: Manifest) -> bytes:
    """The bill of materials of an artifact as JSON; equal manifests give equal bytes.

    Args:
        manifest: Manifest of the artifact.
    """
    files = [graph.file for graph in manifest.graphs] + [engine.file for engine in manifest.engines]
    others = {name: number for name, number in sorted(manifest.tools.items()) if name != OWN_NAME}
    ours = manifest.tools.get(OWN_NAME)
    tools = [] if ours is None else [_package("application", OWN_NAME, ours)]
    content: dict[str, object] = {
        "version": 1,
        "metadata": {"tools": {"components": tools}, "component": _model(manifest, files)},
        "components": [{**_package("library", *tool), "scope": "excluded"} for tool in others.items()],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [_reference(file) for file in files]},
            *({"ref": _reference(file)} for file in files),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, indented_json(content).decode())
    document = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial.urn,
        **content,
    }
    return indented_json(document)


def _model(manifest: Manifest, files: list[FileEntry]) -> dict[str, object]:
    checkpoint = manifest.source.checkpoint_sha256
    facts = {
        "driver": manifest.driver,
        "hop_length": str(manifest.hop_length),
        "look_ahead_samples": str(manifest.look_ahead_samples),
        **({} if checkpoint is None else {"checkpoint_sha256": checkpoint}),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": f"{manifest.family}-{manifest.variant}",
        **({} if manifest.licence is None else {"licenses": [_license(manifest.licence)]}),
        "modelCard": _model_card(manifest),
        "components": [_file(file) for file in files],
        "properties": _properties(facts),
    }


def _model_card(manifest: Manifest) -> dict[str, object]:
    mel = manifest.mel
    parameters: dict[str, object] = {
        "task": "mel spectrogram to speech",
        "architectureFamily": manifest.family,
        "modelArchitecture": f"{manifest.family} {manifest.variant}",
        "inputs": [{"format": f"mel: float32 [batch, {mel.n_mels}, frames], {mel.id}: {mel_text(mel)}"}],
        "outputs": [{"format": f"audio: float32 [batch, 1, samples], {manifest.sample_rate} Hz"}],
    }
    calibration = manifest.calibration
    if calibration is not None:
        names = {each.name: f"SHA-256 {each.sha256}" for each in calibration.recordings}
        parameters["datasets"] = [
            {"type": "dataset", "name": "calibration", "contents": {"properties": _properties(names)}}
        ]
    metrics = [
        {"type": name, "value": f"{value:.6g}", "slice": graph.name}
        for graph in manifest.graphs
        for name, value in sorted((graph.validation or {}).items())
        if value is not None
    ]
    analysis = {"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}
    return {"modelParameters": parameters, **analysis}


def _file(file: FileEntry) -> dict[str, object]:
    return {
        "type": "file",
        "bom-ref": _reference(file),
        "name": file.path,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": _properties({"size_bytes": str(file.size_bytes)}),
    }


def _reference(file: FileEntry) -> str:
    return f"file:{file.path}"


def _package(kind: str, name: str, version: str) -> dict[str, object]:
    url = package_url(name, version)
    return {"type": kind, "bom-ref": url, "name": name, "version": version, "purl": url}


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"{OWN_NAME}:{name}", "value": value} for name, value in values.items()]


def _license(text: str) -> dict[str, object]:
    return {"expression": text} if _SPDX.fullmatch(text) else {"license": {"name": text}}
