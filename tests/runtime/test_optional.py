"""Optional libraries: what is missing is named with the command that installs it; what is broken says so."""

import sys

import pytest

from voirs_vocoder.runtime import InputError, ProviderError
from voirs_vocoder.runtime.optional import import_optional, missing_package
from voirs_vocoder.runtime.scarcity import scarce_resource


def test_a_library_that_is_there_is_imported():
    assert import_optional("json.decoder", purpose="x", extra="x").__name__ == "json.decoder"


def test_a_missing_library_is_named_with_its_purpose_and_its_extra():
    with pytest.raises(InputError) as caught:
        import_optional(
            "absent_library.part", purpose="drawing", extra="eval", error=InputError, hint=", or wait"
        )
    expected = (
        "drawing needs absent_library, which is not installed; pip install 'voirs-vocoder[eval]', or wait"
    )
    assert str(caught.value) == expected
    assert missing_package("drawing", "absent_library", "eval") + ", or wait" == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import absent_dependency", "No module named 'absent_dependency'"),
        ("raise OSError('libx.so.1:\\n not found')", "libx.so.1: not found"),
    ],
)
def test_a_library_that_does_not_load_is_not_called_missing(tmp_path, monkeypatch, source, reason):
    (tmp_path / "broken_library.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProviderError) as caught:
        import_optional("broken_library", purpose="playing", package="Broken", extra="play")
    sys.modules.pop("broken_library", None)
    assert str(caught.value) == (
        f"playing needs Broken, which does not load ({reason}); pip install 'voirs-vocoder[play]'"
    )


@pytest.mark.parametrize(
    ("source", "resource"),
    [
        ("raise ImportError('libx.so: failed to map segment from shared object')", "not enough memory"),
        ("raise OSError(24, 'Too many open files')", "too many open files"),
    ],
)
def test_a_library_for_which_memory_or_files_lack_is_not_to_be_installed(
    tmp_path, monkeypatch, source, resource
):
    (tmp_path / "starved_library.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProviderError, match=f"does not load: {resource}; ") as caught:
        import_optional("starved_library", purpose="playing", extra="play", hint=", or wait")
    sys.modules.pop("starved_library", None)
    assert "install" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(12, "Cannot allocate memory"), "not enough memory"),
        (OSError(23, "Too many open files in system"), "too many open files"),
        (RuntimeError("can't start new thread"), "no further thread"),
        (RuntimeError("std::bad_alloc"), "not enough memory"),
        (OSError(28, "No space left on device"), None),
        (ValueError("cannot allocate memory"), None),
    ],
)
def test_what_a_process_has_too_little_of_is_named(error, resource):
    wrapped = ValueError("of a library")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        found = scarce_resource(each)
        assert found is None if resource is None else found is not None and found.startswith(resource)
