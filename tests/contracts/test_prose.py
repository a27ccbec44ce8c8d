"""The checker of prose: it finds what it must, and leaves what is right alone."""

from __future__ import annotations

import textwrap

import pytest

from tests.contracts import prose

MODULE = '''
"""{module}"""

import click


def louder(gain_db: float) -> float:
    """{function}

    Args:
        gain_db: {argument}

    Returns:
        {result}

    Raises:
        ValueError: {error}

    Example:
        heard = louder(3.0)
    """
    if gain_db > 40.0:
        raise ValueError(f"gain_db is {{gain_db}}: {message}")
    return gain_db  # {comment}


class Gain:
    """A gain.

    Attributes:
        gain_db: {attribute}
    """


option = click.option("--gain", help="{help}")
'''
CLEAN = {
    "module": "Effects on the level of speech.",
    "function": "Amplify a signal; `heard` and `behaviour` are names, as is `Licence`.",
    "argument": "Gain in dB, at most 40; the spectrum of many voices is analyzed, not centered.",
    "result": "Gain in dB. A gain of 0 dB leaves the signal as it is, as `Unit` does.",
    "error": "The gain is above 40 dB.",
    "message": "it must be at most 40; lower it, or pass --licence",
    "comment": "what listeners hear is the same, and who speaks does not matter",
    "attribute": "Gain in dB; None leaves the level as it is.",
    "help": "Gain in dB.",
}


def rules_found(**changed: str) -> list[tuple[int, str]]:
    source = MODULE.format_map({**CLEAN, **changed})
    return [(found.line, found.rule) for found in prose.findings_in_python(source, "planted.py")]


def line_of(place: str) -> int:
    marked = MODULE.format_map({**CLEAN, place: "MARK"})
    return next(number for number, line in enumerate(marked.split("\n"), 1) if "MARK" in line)


def test_clean_prose_is_left_alone():
    assert rules_found() == []


@pytest.mark.parametrize("place", ["module", "function", "argument", "result", "error", "attribute", "help"])
@pytest.mark.parametrize(
    "text",
    [
        "Of the signal.",
        "Likewise.",
        "The same.",
        "Same as above.",
        "As `louder`.",
        "See `louder`.",
        "How many.",
        "Free.",
        "None likewise.",
        "In Hz.",
    ],
)
def test_an_entry_that_does_not_stand_alone_is_found_wherever_it_stands(place, text):
    assert (line_of(place), "stands alone") in rules_found(**{place: text})


@pytest.mark.parametrize("place", list(CLEAN))
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The network is told the step.", "metaphor"),
        ("A stream says its own delay.", "metaphor"),
        ("The artifact speaks with four voices.", "metaphor"),
        ("All that is heard of the mel.", "metaphor"),
        ("Whoever reads it, or whatever fails.", "metaphor"),
        ("Mend the file, lest it be made anew.", "metaphor"),
        ("Nobody vouches for the rubbish behind it.", "metaphor"),
        ("Two files are held against each other.", "metaphor"),
        ("The command holds two long files together.", "metaphor"),
        ("The weights are normalised first.", "US spelling"),
        ("The quantisation of a layer.", "US spelling"),
        ("The behaviour near the centre.", "US spelling"),
        ("The licence of a modelled voice.", "US spelling"),
        ("A grey artefact is analysed.", "US spelling"),
    ],
)
def test_a_metaphor_and_british_spelling_are_found_wherever_they_stand(place, text, rule):
    assert (line_of(place), rule) in rules_found(**{place: text})


def test_a_term_is_found_where_it_breaks_over_two_lines():
    source = '"""Files that are held\nagainst each other."""\n'
    assert [(each.line, each.rule) for each in prose.findings_in_python(source, "x.py")] == [(1, "metaphor")]


def test_markdown_is_read_without_its_code():
    text = textwrap.dedent(
        """
        The graph is `told` by nobody.

            heard = 1

        ```
        heard
        ```

        The graph is told the step.
        """
    ).replace("    heard = 1", "`heard = 1`")
    assert [(each.line, each.rule) for each in prose.findings_in_markdown(text, "x.md")] == [(10, "metaphor")]


def test_the_command_names_each_finding_and_fails(tmp_path, capsys):
    (tmp_path / "clean.md").write_text("The gain is in dB.\n")
    assert prose.main([str(tmp_path)]) == 0
    (tmp_path / "planted.md").write_text("The gain is told.\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "made.md").write_text("The gain is told.\n")
    assert prose.main([str(tmp_path)]) == 1
    assert f"{tmp_path}/planted.md:1: metaphor: told." in capsys.readouterr().out


def test_every_folder_that_is_checked_exists_and_holds_prose():
    for path in prose.checked_paths():
        assert any(prose.files_below([path])), path
