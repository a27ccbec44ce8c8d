"""Finds prose that does not stand alone, metaphors in place of terms, and British spelling.

Usage: python tests/contracts/prose.py [PATH...]; without a path it reads every folder that is checked. It prints one
line for each finding and exits with 1 when there is one.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKED", "Finding", "files_below", "findings_in_markdown", "findings_in_python", "main"]

ROOT = Path(__file__).resolve().parents[2]
CHECKED = (
    "calibration",
    "export",
    "reference_models",
    "runtime",
    "tests/benchmark",
    "tests/fuzz",
    "artifacts",
)
_LEFT_OUT = frozenset({"build", ".venv", ".git", ".typing", "node_modules"})

# The beginnings of an entry that means nothing without the name before it or the entry above it.
_FRAGMENT = re.compile(
    r"(?:Of|Likewise|The same|Same|As|See|None likewise)\b"
    r"|How (?:many|much)\.|Free\."
    r"|In (?:Hz|dB|ms|bytes|frames|milliseconds|samples|seconds)\b"
)
_METAPHORS = re.compile(
    r"\b(?:hears?|heard|told|tells?|speaks?|spoke|says?|said|mend(?:s|ed|ing)?|lest|anew|whoever|whatever"
    r"|vouch(?:es|ed)?|rubbish|h(?:old(?:s|ing)?|eld)\s+against|h(?:old(?:s|ing)?|eld)(?:\s+[^\s.;:]+){0,4}\s+together)\b",
    re.IGNORECASE,
)
# Where such a word is meant literally: of people, never of a graph, a stream or a file.
_LITERAL = re.compile(
    r"\b(?:people|person|listeners?|somebody|someone|nobody|voice actors?|speakers?|who)\s+"
    r"(?:cannot\s+|can\s+|could\s+|may\s+)?(?:hears?|heard|speaks?|spoke)\b",
    re.IGNORECASE,
)
_ISE = (
    "categor|character|custom|emphas|equal|final|formal|general|harmon|initial|linear|local|material|maxim|memor|minim"
    "|modern|modular|normal|optim|organ|parallel|parametr|personal|popular|prior|quant|random|real|recogn|regular"
    "|sanit|serial|special|stabil|standard|summar|symbol|synchron|synthes|token|util|vector|visual"
)
_BRITISH = re.compile(
    rf"\b(?:(?:de|dis|re|un)?(?:{_ISE})is(?:e[sdr]?|ing|able)|\w+isations?|(?:para|cata)?lys(?:e[sd]?|ing)"
    r"|analys(?:e[sd]?|ing)|colour\w*|cent(?:res?|red|ring)|behaviours?|(?:sub)?licences?|grey\w*|artefacts?"
    r"|(?:re|un)?(?:model|label|cancel|channel|level|signal|travel|total)l(?:ed|ing|er)|favour\w*|flavours?"
    r"|neighbour\w*|honour\w*|fulfils?|judgements?|defences?|programmes?|(?:kilo|milli|centi)?metres?|whilst|amongst)\b",
    re.IGNORECASE,
)
_RULES = (("metaphor", _METAPHORS), ("US spelling", _BRITISH))
# Names keep their spelling: what stands in backticks, options, keys, attributes, addresses, and names of entries.
_NAMES = re.compile(
    r"`[^`]*`|--[\w-]+|https?://\S+|\w+\.\w+(?:\.\w+)*|\b\w*_\w*\b|\b\w+=|^[ ]+\w+:(?=\s)", re.MULTILINE
)

_SECTIONS = frozenset({"Args", "Attributes", "Raises", "Returns", "Warns", "Yields"})
_HEADER = re.compile(r"\s*(Args|Attributes|Example|Examples|Note|Raises|Returns|Warns|Yields):\s*$")
_ENTRY = re.compile(r"\*{0,2}[\w.\[\], `|/-]+?(?: \([^)]*\))?:\s+(?P<text>\S.*)")
_FENCE = re.compile(r"\s*(```|~~~)")
_WORDS_OF_A_SENTENCE = 4


@dataclass(frozen=True, order=True)
class Finding:
    """One place where the prose breaks a rule.

    Attributes:
        path: Path of the file as it was given.
        line: Line number, from 1.
        rule: Name of the rule.
        text: The words that break it, with what follows them on the line.
    """

    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def findings_in_python(source: str, path: str) -> Iterator[Finding]:
    """Findings in the docstrings, help texts, messages and comments of a module.

    Args:
        source: Text of the module.
        path: Path for the findings.

    Yields:
        Findings, those of one text in order.
    """
    tree = ast.parse(source)
    docstrings = {id(node): node for node in _docstrings(tree)}
    for node in docstrings.values():
        lines = list(_without_examples(str(node.value).split("\n")))
        yield from _words("\n".join(lines), path, node.lineno)
        for offset, entry in _entries(lines):
            yield from _fragment(entry, path, node.lineno + offset)
    for line, text, is_help in _strings(tree, frozenset(docstrings)):
        if is_help:
            yield from _fragment(text, path, line)
        if is_help or len(text.split()) >= _WORDS_OF_A_SENTENCE:
            yield from _words(text, path, line)
    for line, text in _comments(source):
        yield from _words(text, path, line)


def findings_in_markdown(source: str, path: str) -> Iterator[Finding]:
    """Findings in a Markdown file, without its code.

    Args:
        source: Text of the file.
        path: Path for the findings.

    Yields:
        Findings in order.
    """
    fenced = False
    prose = []
    for line in source.split("\n"):
        is_fence = bool(_FENCE.match(line))
        fenced ^= is_fence
        prose.append("" if fenced or is_fence else line)
    yield from _words("\n".join(prose), path, 1)


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """Every Python and Markdown file of these folders, and the files themselves, without built folders."""
    for path in paths:
        found = [path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.md")])
        for each in found:
            below = each.relative_to(path).parts if path.is_dir() else ()
            if _LEFT_OUT.isdisjoint(below):
                yield each


def findings_below(paths: Iterable[Path]) -> list[Finding]:
    """All findings in files and folders, sorted by path and line."""
    found = []
    for path in files_below(paths):
        source = path.read_text(encoding="utf-8")
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        read = findings_in_markdown if path.suffix == ".md" else findings_in_python
        found += read(source, name)
    return sorted(found)


def checked_paths() -> list[Path]:
    """The folders that are checked, and the Markdown files of the root."""
    return [*(ROOT / folder for folder in CHECKED), *sorted(ROOT.glob("*.md"))]


def main(arguments: list[str]) -> int:
    """Print the findings in the files and folders named, or in all that are checked; 1 when there is one."""
    found = findings_below([Path(each).resolve() for each in arguments] or checked_paths())
    for finding in found:
        print(finding)
    if found:
        counts = Counter("/".join(Path(each.path).parts[:2]) for each in found)
        print(
            f"{len(found)} findings: "
            + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        )
    return 1 if found else 0


def _words(text: str, path: str, first_line: int) -> Iterator[Finding]:
    # Blanks of equal length keep positions, so that the line numbers stay right.
    prose = _LITERAL.sub(_blank, _NAMES.sub(_blank, text))
    for rule, pattern in _RULES:
        for match in pattern.finditer(prose):
            line_end = text.find("\n", match.end())
            excerpt = text[match.start() : line_end if line_end >= 0 else len(text)]
            line = first_line + text.count("\n", 0, match.start())
            yield Finding(path, line, rule, " ".join(excerpt.split())[:100])


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def _fragment(text: str, path: str, line: int) -> Iterator[Finding]:
    if _FRAGMENT.match(text):
        yield Finding(path, line, "stands alone", text.split("\n")[0][:100])


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings that are statements: of modules, classes and functions, and those that explain a constant."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value


def _without_examples(lines: list[str]) -> Iterator[str]:
    """The lines, those of an example's code blanked."""
    example: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        header = _HEADER.match(line)
        if header and header.group(1).startswith("Example"):
            example = indent
            yield ""
            continue
        if example is not None and line.strip() and indent <= example:
            example = None
        yield "" if example is not None else line


def _entries(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Offset and text of what must stand alone: the first line, and each entry of a section."""
    if lines[0].strip():
        yield 0, lines[0].strip()
    section = ""
    base = inner = 0
    for offset, line in enumerate(lines):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        header = _HEADER.match(line)
        if header:
            section, base, inner = header.group(1), indent, 0
            continue
        if section and indent <= base:
            section = ""
        if section not in _SECTIONS:
            continue
        inner = inner or indent
        if indent > inner:
            continue  # the rest of an entry
        entry = _ENTRY.match(line.strip())
        if section in ("Returns", "Yields"):
            yield offset, line.strip()
            inner = 1  # what follows is the rest of this one
        elif entry:
            yield offset, entry["text"]


def _strings(tree: ast.Module, left_out: frozenset[int]) -> Iterator[tuple[int, str, bool]]:
    """Line, text and whether it is a help text, of each string that is no docstring; an f-string is one text."""
    helps: set[int] = set()
    skipped = set(left_out)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "short_help"):
            helps.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "0" for part in node.values)
            yield node.lineno, "".join(parts), id(node) in helps
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in helps


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of each comment; the lines of one block are one text."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield first, "\n".join(block)
            block = []
        if not block:
            first = line
        block.append(token.string.lstrip("# "))
        last = line
    if block:
        yield first, "\n".join(block)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
