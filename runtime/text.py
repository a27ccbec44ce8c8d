"""Text from outside, such as a name in a manifest or a file's name, made safe to print on one line."""

from __future__ import annotations

import re

__all__ = ["printable"]

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


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in _ESCAPED_BYTES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
