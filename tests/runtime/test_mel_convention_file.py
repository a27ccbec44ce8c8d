"""Mel conventions in files of users: JSON or TOML, refused by the name of the field."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention, get_convention
from voirs_vocoder.runtime.mel.convention_file import load_convention

HIFIGAN = get_convention("hifigan-22k")
FIELDS = {name: value for name, value in msgspec.to_builtins(HIFIGAN).items() if name != "id"}
_MISSING = object()


def toml_text(fields: dict[str, object]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items() if value is not None)


def test_an_id_gives_the_published_convention():
    assert load_convention("vocos-24k") == get_convention("vocos-24k")


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_file_gives_its_fields(tmp_path, ending):
    fields = {**FIELDS, "id": "mine", "compression": "log10", "scale": 1.6, "offset": 2.4, "limits": [-4, 4]}
    path = tmp_path / f"mel.{ending}"
    path.write_text(json.dumps(fields) if ending == "json" else toml_text(fields), encoding="utf-8")
    expected = msgspec.structs.replace(
        HIFIGAN, id="mine", compression="log10", scale=1.6, offset=2.4, limits=(-4.0, 4.0)
    )
    assert load_convention(path) == expected


def test_without_an_id_the_parameters_decide_it(tmp_path):
    path = tmp_path / "mel.json"
    path.write_text(json.dumps(FIELDS), encoding="utf-8")
    assert load_convention(path) == HIFIGAN
    path.write_text(json.dumps({**FIELDS, "floor": 1e-6}), encoding="utf-8")
    assert load_convention(path).id.startswith("custom-22050hz-80x256-")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_ftt": 1024}, "no field 'n_ftt', the nearest field is 'n_fft'"),
        ({"zzz": 1}, "no field 'zzz'; fields: id, sample_rate"),
        ({"n_fft": "1024"}, "n_fft: Expected `int`, got `str`, got '1024'"),
        ({"n_fft": 1024.5}, "n_fft: Expected `int`"),
        ({"compression": "log2"}, "compression must be one of ln, log10, db-unit, got 'log2'"),
        ({"padding": None}, "padding must be one of reflect, zero, none, got None"),
        ({"limits": [1]}, "limits: Expected `array` of length 2"),
        ({"limits": [2, 1]}, "finite limits, the lower one first"),
        ({"f_max_hz": 20000}, "f_max_hz <= nyquist"),
        ({"floor": 0}, "floor > 0"),
        ({"floor": _MISSING}, "missing required field `floor`"),
        ({"id": ""}, "the id of a mel convention must be"),
        ({"id": "two\nlines"}, "the id of a mel convention must be"),
        ({"id": 7}, "the id of a mel convention must be"),
        (
            {"id": "vocos-24k"},
            "the id 'vocos-24k' is that of a published mel convention with other parameters",
        ),
    ],
)
def test_a_file_that_is_no_convention_is_refused_by_the_field(tmp_path, changes, words):
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not _MISSING}
    path = tmp_path / "mel.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        load_convention(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mel.json", b"[]", "must be an object of its fields, got list"),
        ("mel.json", b"{", "not JSON"),
        ("mel.json", b'{"a": 1, "a": 2}', "twice"),
        ("mel.toml", b"= 1", "not TOML"),
        ("mel.toml", b"", "empty"),
        ("mel.json", b" " * 70_000, "at most"),
        ("mel.yaml", b"n_fft: 1024", "an id or a .json or .toml file, got"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        load_convention(path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_id_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"got 'vocos'; known: .*vocos-24k"):
        load_convention("vocos")
    with pytest.raises(InputError, match="no such file"):
        load_convention(tmp_path / "mel.json")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(FIELDS)),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
            st.lists(st.floats(), max_size=3), st.sampled_from(["ln", "log10", "zero", "none", "htk", "centered"]),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_any_values_are_a_convention_or_refused_in_one_line(tmp_path, changes):
    path = tmp_path / "mel.json"
    path.write_text(json.dumps({**FIELDS, **changes}), encoding="utf-8")
    try:
        assert isinstance(load_convention(path), MelConvention)
    except InputError as error:
        assert "\n" not in str(error)
