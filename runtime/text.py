"""Text from outside, such as a name in a manifest or a file's name, made safe to print on one line."""

from __future__ import annotations

import re

__all__ = ["one_line", "printable"]

_MAX_LINE = 4000

# Control characters, line and paragraph separators, invisible and bidirectional formatting, lone surrogates. The
# joiners U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_ESCAPED_BYTES = range(0xDC80, 0xDD00)


def printable(text: str) -> str:
    r"""Text on one line, without characters that a terminal obeys, that hide, or that reorder what is shown.

    Args:
        text: Any text. A byte of a file name that is not UTF-8, which Python keeps as a lone surrogate, becomes that
            byte's escape.

    Returns:
        Text that encodes as UTF-8. Control, escape and bidirectional characters, line breaks included, stand as
        `\xNN`, `\uNNNN` or `\UNNNNNNNN`. Text without such characters is returned unchanged.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Text of any length and origin as a message of at most 4,000 printable characters.

    Args:
        text: Any text, such as the message of a library.

    Returns:
        Text in which each run of line breaks and the space around it is one space; see `printable` for the other
        characters. A longer text ends in `...`.
    """
    line = printable(
        " ".join(part.strip() for part in text.splitlines() if part.strip()) if "\n" in text else text
    )
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in _ESCAPED_BYTES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
