"""Optional libraries: what is missing is named with the command that installs it; what is broken says so."""

import sys

import pytest

from voirs_vocoder.runtime import InputError, ProviderError
from voirs_vocoder.runtime.optional import import_optional, missing_package


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
