"""Artifacts: verified on the bytes that are used, confined to their directory, written whole or not at all."""

import contextlib
import hashlib
import json
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toy_artifact import GRAPH, GRAPH_PATH, toy_manifest
from voirs_vocoder.export.artifact.writer import create_artifact, locked_artifact, replace_manifest
from voirs_vocoder.runtime import Artifact, ArtifactError, InputError, ProviderError
from voirs_vocoder.runtime.artifact.manifest import (
    MAX_SEGMENTS,
    Calibration,
    CalibrationSegment,
    Recording,
    decode_manifest,
    encode_manifest,
    segments_sha256,
)
from voirs_vocoder.runtime.artifact.tags import tags_of_artifact


@pytest.fixture
def artifact(tmp_path):
    return create_artifact(tmp_path / "a", toy_manifest(), {GRAPH_PATH: GRAPH}, force=False)


def test_a_manifest_comes_back_as_it_was_written_and_in_the_same_bytes():
    data = encode_manifest(toy_manifest())
    assert decode_manifest(data, "m") == toy_manifest()
    assert encode_manifest(decode_manifest(data, "m")) == data


def listed_manifest():
    """A manifest with two calibration segments of one recording."""
    segments = tuple(
        CalibrationSegment(recording="ab" * 32, start=start, frames=200, chosen_for=name)
        for start, name in ((0, "silence"), (200, "voiced"))
    )
    calibration = Calibration(
        recordings=(Recording(name="a.wav", sha256="ab" * 32),),
        segments=2,
        segment_frames=200,
        segment_list=segments,
        segment_list_sha256=segments_sha256(segments),
    )
    return msgspec.structs.replace(toy_manifest(), calibration=calibration)


def test_a_list_of_calibration_segments_is_bound_to_its_hash():
    manifest = listed_manifest()
    data = encode_manifest(manifest)
    assert decode_manifest(data, "m") == manifest
    lines = "".join(f"{'ab' * 32} {start} 200 {name}\n" for start, name in ((0, "silence"), (200, "voiced")))
    assert manifest.calibration.segment_list_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    for before, after in ((b'"start": 200', b'"start": 201'), (b'"voiced"', b'"quiet"')):
        assert before in data
        with pytest.raises(ArtifactError, match="segment_list_sha256 must be the hash"):
            decode_manifest(data.replace(before, after), "m")
    with pytest.raises(ArtifactError, match="not a manifest"):
        decode_manifest(data.replace(b'"voiced"', b'"shouted"'), "m")


def test_a_list_of_too_many_calibration_segments_is_refused():
    document = json.loads(encode_manifest(listed_manifest()))
    document["calibration"]["segment_list"] *= MAX_SEGMENTS
    with pytest.raises(ArtifactError, match="not a manifest"):
        decode_manifest(json.dumps(document).encode(), "m")


def test_a_file_is_verified_on_the_bytes_that_are_handed_on(artifact):
    entry = artifact.manifest.graphs[0].file
    assert artifact.read(entry) == GRAPH
    path = artifact.root / entry.path
    path.write_bytes(GRAPH[:-1] + b"!")
    with pytest.raises(ArtifactError, match="differs from what the manifest recorded"):
        artifact.read(entry)
    path.write_bytes(GRAPH + b"more")
    with pytest.raises(ArtifactError, match="differs"):
        artifact.read(entry)
    path.unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        artifact.read(entry)


def test_verify_names_each_damaged_file(artifact):
    entry = artifact.manifest.graphs[0].file
    assert list(artifact.verify()) == [(entry, None)]
    (artifact.root / entry.path).write_bytes(b"")
    ((found, error),) = artifact.verify()
    assert found == entry
    assert "differs" in str(error)


@pytest.mark.parametrize("path", ["../x.onnx", "/etc/passwd", "graphs/../../x", "", "a\\..\\x", "a\0b"])
def test_a_path_that_leaves_the_directory_is_refused(tmp_path, path):
    (tmp_path / "manifest.json").write_bytes(encode_manifest(toy_manifest(path)))
    with pytest.raises(ArtifactError, match="inside the artifact"):
        Artifact.open(tmp_path)


def test_a_link_that_leaves_the_directory_is_refused(artifact, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(GRAPH)
    path = artifact.root / "graphs" / "offline.fp32.onnx"
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(ArtifactError, match="a link leads out of the artifact"):
        artifact.read(artifact.manifest.graphs[0].file)


def test_a_later_format_is_refused_before_its_fields_are_read(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 99, "new_field": 1}))
    with pytest.raises(ArtifactError, match="format 99 is later"):
        Artifact.open(tmp_path)


def test_an_unknown_field_is_refused(tmp_path):
    document = msgspec.to_builtins(toy_manifest())
    document["surprise"] = 1
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="surprise"):
        Artifact.open(tmp_path)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_an_artifact_error_and_nothing_else(data):
    with pytest.raises(ArtifactError):
        decode_manifest(data, "m")


@given(st.data())
def test_a_mutated_manifest_is_read_or_refused(data):
    original = bytearray(encode_manifest(toy_manifest()))
    position = data.draw(st.integers(0, len(original) - 1))
    original[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ArtifactError):
        decode_manifest(bytes(original), "m")


def test_an_existing_artifact_is_replaced_only_by_force_and_another_folder_never(artifact, tmp_path):
    files = {GRAPH_PATH: GRAPH}
    with pytest.raises(InputError, match="force=True"):
        create_artifact(artifact.root, toy_manifest(), files, force=False)
    create_artifact(artifact.root, toy_manifest(variant="v9"), files, force=True)
    assert Artifact.open(artifact.root).manifest.variant == "v9"
    other = tmp_path / "photos"
    other.mkdir()
    with pytest.raises(InputError, match="artifacts only"):
        create_artifact(other, toy_manifest(), files, force=True)


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        create_artifact(tmp_path / "a", toy_manifest(), {GRAPH_PATH: GRAPH}, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_change_leaves_the_artifact_as_it_was(artifact, monkeypatch):
    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    before = {path: path.read_bytes() for path in artifact.root.rglob("*") if path.is_file()}
    with locked_artifact(artifact.root) as locked:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left"):
            replace_manifest(locked, toy_manifest(variant="v9"), {"graphs/new.onnx": GRAPH})
    after = {path: path.read_bytes() for path in artifact.root.rglob("*") if path.is_file()}
    after.pop(artifact.root / ".lock")
    assert after == before


def test_two_changes_at_once_are_refused(artifact):
    with (
        locked_artifact(artifact.root),
        pytest.raises(ArtifactError, match="another process"),
        locked_artifact(artifact.root),
    ):
        pass


def test_a_graph_that_is_not_there_is_an_error_that_lists_what_is(artifact):
    with pytest.raises(
        ProviderError, match=r"no graph offline\.int8\.cpu .* holds offline\.fp32; .*quantize"
    ):
        artifact.graph("offline", "int8", "cpu")


def test_the_hash_is_that_of_the_file(artifact):
    path = artifact.root / "graphs" / "offline.fp32.onnx"
    assert artifact.manifest.graphs[0].file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_artifact_that_keeps_facts_among_the_details_is_refused_in_one_line(artifact):
    path = artifact.root / "manifest.json"
    old = json.loads(path.read_bytes())
    for graph in old["graphs"]:
        graph["details"] = {**graph["details"], **graph.pop("facts")}
    path.write_text(json.dumps(old))
    with pytest.raises(ArtifactError, match=r"^[^\n]*facts[^\n]*export the artifact again$"):
        Artifact.open(artifact.root)


@pytest.mark.parametrize(
    ("field", "value"),
    [("role", "../offline"), ("precision", "FP32"), ("precision", "fp32\n"), ("target", "../cpu")],
)
def test_a_name_that_would_leave_its_place_in_a_file_name_is_refused(artifact, field, value):
    path = artifact.root / "manifest.json"
    changed = json.loads(path.read_bytes())
    changed["graphs"][0][field] = value
    path.write_text(json.dumps(changed))
    with pytest.raises(ArtifactError, match=rf"graphs\[0\]\.{field}"):
        Artifact.open(artifact.root)


@pytest.mark.parametrize(
    ("field", "value"), [("hop_length", 0), ("hop_length", 1 << 30), ("context_frames", -1)]
)
def test_a_size_of_the_model_without_bound_is_refused(artifact, field, value):
    path = artifact.root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {field: value}))
    with pytest.raises(ArtifactError, match=rf"\$\.{field}"):
        Artifact.open(artifact.root)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("state_size", 1 << 40),
        ("state_size", -1),
        ("delay_samples", 1 << 40),
        ("activation_bytes_per_frame", 0),
        ("activation_bytes_per_frame", "many"),
        ("low_latency_frames", -1),
    ],
)
def test_a_fact_that_would_size_memory_without_bound_is_refused(artifact, fact, value):
    path = artifact.root / "manifest.json"
    changed = json.loads(path.read_bytes())
    changed["graphs"][0]["facts"][fact] = value
    path.write_text(json.dumps(changed))
    with pytest.raises(ArtifactError, match=rf"facts\.{fact}"):
        Artifact.open(artifact.root)


def test_the_name_of_a_folder_that_is_no_utf8_stands_in_tags_with_escapes(artifact):
    root = artifact.root.with_name(os.fsdecode(b"mod\xe8le \x1b[31m"))
    artifact.root.rename(root)
    tags = tags_of_artifact(Artifact.open(root), "fp32")
    assert r"synthetic speech by mod\xe8le \x1b[31m (test custom fp32, checkpoint unknown)" in tags.comment
