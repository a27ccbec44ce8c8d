"""JSON and TOML of strangers: parsed within bounds, or refused in one line."""

from __future__ import annotations

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.artifact.manifest import decode_manifest
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.structured import decode_json, json_value, toml_table

REFUSED_JSON = {
    "no text": (b"\xc8\x01", "not JSON"),
    "nothing": (b"", "not JSON"),
    "a key twice": (b'{"a": 1, "a": 2}', "'a' appears twice"),
    "deep": (b"[" * 100_000, "nested deeper than 64"),
    "deep within objects": (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than 64"),
    "a long integer": (b"[" + b"9" * 5000 + b"]", "thousands of digits"),
    "an integer beyond 64 bits": (b"[18446744073709551616]", "at most 64 bits"),
    "half of a surrogate pair": (b'["\\ud800"]', "surrogates not allowed"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED_JSON.values(), ids=REFUSED_JSON)
def test_json_out_of_bounds_is_refused(data, message):
    with pytest.raises(InputError, match=message) as raised:
        json_value(data)
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
        max_leaves=20,
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_json_of_any_encoding_is_the_value_that_was_written(value, encoding):
    assert json_value(json.dumps(value).encode(encoding)) == value


def test_brackets_within_strings_are_no_nesting():
    assert json_value(json.dumps({"a": "[{" * 500 + '\\"'}).encode()) == {"a": "[{" * 500 + '\\"'}
    assert toml_table(b'a = "' + b"[{" * 500 + b'" # [[[[' + b"[" * 100) == {"a": "[{" * 500}


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: float


@pytest.mark.parametrize(
    "data", [b'{"x": 1, "x": 2}', b'{"x": "\xc8"}', b'{"x": []}', b"[" * 100_000, b'{"x": 1' + b"0" * 5000]
)
def test_a_value_of_another_type_is_refused(data):
    with pytest.raises(InputError):
        decode_json(data, Point)


def test_a_manifest_with_a_key_twice_is_refused(data_dir):
    data = (data_dir / "frozen_artifact_v1" / "artifact" / "manifest.json").read_bytes()
    twice = data.replace(b'"hop_length": 16,', b'"hop_length": 16, "hop_length": 16,', 1)
    assert twice != data
    with pytest.raises(ArtifactError, match="'hop_length' appears twice"):
        decode_manifest(twice, "manifest.json")


REFUSED_TOML = {
    "no text": (b"a = '\xc8'", "not TOML"),
    "a long integer": (b"a = " + b"9" * 5000, "thousands of digits"),
    "a long hexadecimal integer": (b"a = 0x" + b"f" * 50_000, "at most 4096 bits"),
    "many parts": (b"a" + b".a" * 25_000 + b" = 1", "at most 8 dotted parts"),
    "many parts in a header": (b"[a" + b" . 'b.c'" * 25_000 + b"]", "at most 8 dotted parts"),
    "many parts after a string": (b"a = '''x'''\nb" + b'."q"' * 5_000 + b" = 1", "at most 8 dotted parts"),
    "many tables": (b"".join(b"[a%d.b.c.d.e.f.g.h]\n" % n for n in range(30_000)), "at most 20000 keys"),
    "many inline tables": (b"x = [" + b"{a=1}," * 30_000 + b"]", "at most 20000 keys"),
    "deep": (b"a = " + b"[" * 50_000, "nested deeper than 64"),
    "a key twice": (b"a = 1\na = 2", "not TOML"),
    "an open string": (b'a = """' + b"\\" * 9_999, "not TOML"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED_TOML.values(), ids=REFUSED_TOML)
def test_toml_out_of_bounds_is_refused(data, message):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as raised:
            toml_table(data)
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most_bytes < 32 << 20
    assert "\n" not in str(raised.value)


def test_toml_is_read():
    data = b"name = \"x # y\"\n[[effect]]\ntype = 'gain'\npoints = [[0.0, 1.5], [2.0, -1.0]] # note\n"
    assert toml_table(data) == {
        "name": "x # y",
        "effect": [{"type": "gain", "points": [[0.0, 1.5], [2.0, -1.0]]}],
    }
