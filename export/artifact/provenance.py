"""provenance.intoto.json: what an artifact was made from, by which commands and packages.

It is an in-toto statement with the predicate of SLSA provenance 1.0, made of the manifest alone. It has no signature of
its own: model.sig covers it with all other files.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from voirs_vocoder.runtime.artifact.manifest import CommandRecord, Manifest
from voirs_vocoder.runtime.artifact.records import MAX_COMMANDS, Parameter
from voirs_vocoder.runtime.distribution import OWN_NAME, own_version, package_version
from voirs_vocoder.runtime.files import indented_json

__all__ = ["PROVENANCE_NAME", "command_record", "package_url", "provenance", "with_command"]

PROVENANCE_NAME = "provenance.intoto.json"

_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:voirs-vocoder:commands:1"
_BUILDER = "urn:voirs-vocoder"


def command_record(command: str, parameters: Mapping[str, Parameter], *packages: str) -> CommandRecord:
    """Record a command for the manifest.

    Args:
        command: Name of the command.
        parameters: Parameters that decide its result, without paths; lists as tuples.
        *packages: Names of the packages that take part; one that is not installed under its name is left out.
    """
    tools = {OWN_NAME: own_version(), "python": platform.python_version()}
    for name in packages:
        number = package_version(name)
        if number is not None:
            tools[name] = number
    return CommandRecord(command=command, parameters=dict(parameters), tools=tools)


def with_command(manifest: Manifest, record: CommandRecord) -> Manifest:
    """The manifest with a command recorded last. The same command with the same parameters is recorded once.

    Args:
        manifest: Manifest to start from; it is not changed.
        record: Record of the command.
    """
    others = [
        each
        for each in manifest.commands
        if (each.command, each.parameters) != (record.command, record.parameters)
    ]
    # The first one made the artifact; of the others the latest matter.
    kept = (*others[:1], *others[1:][-(MAX_COMMANDS - 2) :], record)
    return msgspec.structs.replace(manifest, commands=kept)


def provenance(manifest: Manifest) -> bytes:
    """The provenance of an artifact as JSON; equal manifests give equal bytes.

    Args:
        manifest: Manifest of the artifact.
    """
    files = (*(graph.file for graph in manifest.graphs), *(engine.file for engine in manifest.engines))
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": file.path, "digest": {"sha256": file.sha256}} for file in files],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "commands": [
                        {"command": each.command, "parameters": each.parameters} for each in manifest.commands
                    ]
                },
                "internalParameters": {"tools": [each.tools for each in manifest.commands]},
                "resolvedDependencies": [*_inputs(manifest), *_packages(manifest)],
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {OWN_NAME: manifest.tools.get(OWN_NAME, "unknown")}}
            },
        },
    }
    return indented_json(statement, order="deterministic")


def package_url(name: str, version: str) -> str:
    """Address of a package in the scheme of package-url.

    Args:
        name: Name of the package.
        version: Version of the package.
    """
    kind = "generic" if name == "python" else "pypi"
    return f"pkg:{kind}/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe='')}"


def _inputs(manifest: Manifest) -> list[dict[str, object]]:
    """Checkpoint, recordings and segments that the graphs were made from, by their hashes."""
    found: list[tuple[str, str | None]] = [("checkpoint", manifest.source.checkpoint_sha256)]
    calibration = manifest.calibration
    if calibration is not None:
        found.append(("calibration segments", calibration.segment_list_sha256))
        found += [(f"calibration/{each.name}", each.sha256) for each in calibration.recordings]
    return [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in found if sha256 is not None]


def _packages(manifest: Manifest) -> list[dict[str, object]]:
    used = {package_url(name, number): name for name, number in manifest.tools.items()}
    for each in manifest.commands:
        used |= {package_url(name, number): name for name, number in each.tools.items()}
    return [{"uri": uri, "name": name} for uri, name in sorted(used.items())]
