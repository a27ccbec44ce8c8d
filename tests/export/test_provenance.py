"""Bill of materials and provenance: valid by their schemas, true to the manifest, the same for the same inputs."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from click.testing import CliRunner
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from tests.toy_artifact import GRAPH_PATH, toy_artifact, toy_manifest
from voirs_vocoder.export.artifact.change import change_artifact
from voirs_vocoder.export.artifact.documents import with_documents
from voirs_vocoder.export.artifact.provenance import (
    PROVENANCE_NAME,
    command_record,
    package_url,
    provenance,
    with_command,
)
from voirs_vocoder.export.artifact.sbom import SBOM_NAME, sbom
from voirs_vocoder.export.cli import main
from voirs_vocoder.runtime import Artifact
from voirs_vocoder.runtime.artifact.manifest import Calibration, Recording, decode_manifest, encode_manifest
from voirs_vocoder.runtime.artifact.records import MAX_COMMANDS

SHA256 = re.compile(r"[0-9a-f]{64}")


def schema_problems(data: bytes) -> str:
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    return "" if errors is None else str(errors)


def require_statement(data: bytes) -> dict:
    """Check a document against what in-toto 1.0 and SLSA provenance 1.0 demand; returns its predicate."""
    statement = json.loads(data)
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"]
    for subject in statement["subject"]:
        assert set(subject) == {"name", "digest"}
        assert SHA256.fullmatch(subject["digest"]["sha256"])
    build, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert re.fullmatch(r"[a-z]+:\S+", build["buildType"])
    assert isinstance(build["externalParameters"], dict)
    assert isinstance(build["internalParameters"], dict)
    for resource in build["resolvedDependencies"]:
        # A resource descriptor needs one of them.
        assert {"uri", "digest", "content"} & set(resource)
    assert re.fullmatch(r"[a-z]+:\S+", run["builder"]["id"])
    assert all(isinstance(each, str) for each in run["builder"]["version"].values())
    return statement["predicate"]


def test_an_export_writes_both_and_the_manifest_lists_them(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    listed = {entry.path: entry for entry in artifact.manifest.files}
    bill = json.loads(artifact.read(listed[SBOM_NAME]))
    assert schema_problems(artifact.read(listed[SBOM_NAME])) == ""
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    assert bill["metadata"]["component"]["licenses"] == [{"expression": "CC0-1.0"}]
    hashes = {
        each["name"]: each["hashes"][0]["content"] for each in bill["metadata"]["component"]["components"]
    }
    assert hashes == {graph.file.path: graph.file.sha256 for graph in artifact.manifest.graphs}
    versions = {each["name"]: each["version"] for each in bill["components"]}
    tools = dict(artifact.manifest.tools)
    assert bill["metadata"]["tools"]["components"][0]["version"] == tools.pop("voirs-vocoder")
    assert versions == tools


def test_the_provenance_names_checkpoint_recordings_segments_packages_and_the_command(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    manifest = artifact.manifest
    (entry,) = (entry for entry in manifest.files if entry.path == PROVENANCE_NAME)
    predicate = require_statement(artifact.read(entry))
    digests = {
        each["name"]: each["digest"]["sha256"]
        for each in predicate["buildDefinition"]["resolvedDependencies"]
        if "digest" in each
    }
    assert digests["checkpoint"] == manifest.source.checkpoint_sha256
    assert digests["calibration segments"] == manifest.calibration.segment_list_sha256
    assert set(digests.values()) >= {each.sha256 for each in manifest.calibration.recordings}
    (command,) = predicate["buildDefinition"]["externalParameters"]["commands"]
    assert command["command"] == "export"
    assert command["parameters"]["precisions"] == ["fp32", "fp16", "int8"]
    assert command["parameters"]["int8.ranges"] == "mse"
    assert predicate["runDetails"]["builder"]["version"]["voirs-vocoder"] == manifest.tools["voirs-vocoder"]


def test_neither_names_a_path_a_host_or_a_date(tiny_artifact, tiny_checkpoint, calibration_folder):
    for name in (SBOM_NAME, PROVENANCE_NAME):
        text = (tiny_artifact / name).read_text("utf-8")
        for private in (str(tiny_checkpoint.parent), str(calibration_folder), str(tiny_artifact)):
            assert private not in text
        assert not re.search(r"20\d\d-\d\d-\d\dT", text)


def test_they_follow_from_the_manifest_alone(tiny_artifact):
    manifest = Artifact.open(tiny_artifact).manifest
    again = decode_manifest(encode_manifest(manifest), "again")
    assert with_documents(manifest) == with_documents(again)
    documents = with_documents(manifest)[1]
    for path in (SBOM_NAME, PROVENANCE_NAME):
        assert (tiny_artifact / path).read_bytes() == documents[path]


def test_a_change_renews_both_and_adds_its_command(tmp_path):
    root = toy_artifact(tmp_path / "a").root
    before = (root / SBOM_NAME).read_bytes()
    calibration = Calibration(
        recordings=(Recording(name="a.wav", sha256="0" * 64),), segments=1, segment_frames=9
    )
    record = command_record("quantize", {"targets": ("cpu",), "share": 0.5, "seed": None}, "numpy", "no-such")

    def edit(artifact):
        return msgspec.structs.replace(artifact.manifest, calibration=calibration), {}

    artifact = change_artifact(root, edit, record)
    assert [error for _, error in artifact.verify() if error] == []
    assert (root / SBOM_NAME).read_bytes() != before
    assert schema_problems((root / SBOM_NAME).read_bytes()) == ""
    build = require_statement((root / PROVENANCE_NAME).read_bytes())["buildDefinition"]
    assert build["externalParameters"]["commands"] == [
        {"command": "quantize", "parameters": {"targets": ["cpu"], "share": 0.5, "seed": None}}
    ]
    assert "calibration/a.wav" in {each["name"] for each in build["resolvedDependencies"]}
    assert Artifact.open(root).manifest.commands == (record,)


def test_quantize_is_recorded_with_its_parameters(artifact_copy, calibration_folder):
    result = CliRunner().invoke(
        main,
        [
            *("quantize", str(artifact_copy), "--calibration", str(calibration_folder)),
            *("--target", "cpu", "--max-float-share", "0", "--force"),
        ],
    )
    assert result.exit_code == 0, result.output
    build = require_statement((artifact_copy / PROVENANCE_NAME).read_bytes())["buildDefinition"]
    exported, quantized = build["externalParameters"]["commands"]
    assert (exported["command"], quantized["command"]) == ("export", "quantize")
    assert quantized["parameters"]["targets"] == ["cpu"]
    assert quantized["parameters"]["int8.max_float_share"] == 0.0
    assert str(calibration_folder) not in json.dumps(build)


def test_the_same_command_is_recorded_once_and_the_list_is_bounded():
    manifest = with_command(toy_manifest(), command_record("export", {}))
    for number in range(MAX_COMMANDS + 20):
        manifest = with_command(manifest, command_record("tune", {"number": number}))
        manifest = with_command(manifest, command_record("tune", {"number": number}))
    assert len(manifest.commands) == MAX_COMMANDS
    assert manifest.commands[0].command == "export"
    assert manifest.commands[-1].parameters == {"number": MAX_COMMANDS + 19}
    assert decode_manifest(encode_manifest(manifest), "m") == manifest


@given(
    licence=st.none()
    | st.text(max_size=30)
    | st.sampled_from(["MIT", "Apache-2.0 OR MIT", "GPL-3.0+", "own"]),
    variant=st.text(max_size=20),
    tools=st.dictionaries(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12), max_size=4),
)
def test_any_text_of_a_manifest_gives_valid_documents(licence, variant, tools):
    manifest = toy_manifest(licence=licence, variant=variant, tools=tools)
    assert schema_problems(sbom(manifest)) == ""
    require_statement(provenance(manifest))


def test_a_graph_that_is_not_the_recorded_one_would_be_found(tmp_path):
    root = toy_artifact(tmp_path / "a").root
    subjects = json.loads((root / PROVENANCE_NAME).read_bytes())["subject"]
    (graph,) = (entry for entry in Artifact.open(root).manifest.all_files() if entry.path == GRAPH_PATH)
    assert subjects == [{"name": GRAPH_PATH, "digest": {"sha256": graph.sha256}}]


@pytest.mark.parametrize(
    ("name", "version", "url"),
    [
        ("torch", "2.13.0+cpu", "pkg:pypi/torch@2.13.0%2Bcpu"),
        ("python", "3.11.7", "pkg:generic/python@3.11.7"),
        ("Typing_Extensions", "4", "pkg:pypi/typing-extensions@4"),
    ],
)
def test_packages_are_named_by_package_urls(name, version, url):
    assert package_url(name, version) == url
