"""What a file is, by its first bytes: for messages about input of the wrong kind."""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "content_remedy", "kind_of"]

HEAD_BYTES = 32
"""Number of bytes from the beginning that `kind_of` and `content_remedy` look at."""

_NUMPY = "a NumPy array"
_ARCHIVE = "a zip archive, as numpy.savez and torch.save write them"
_POINTER = "a Git LFS pointer"
_PAGE = "a web page"
# Beginning of a file -> its kind.
_KINDS = {
    b"RIFF": "a WAV file",
    b"RIFX": "a WAV file",
    b"RF64": "a WAV file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b"FORM": "an AIFF file",
    b"caff": "a CAF file",
    b".snd": "an AU file",
    b"\x93NUMPY": _NUMPY,
    b"PK\x03\x04": _ARCHIVE,
    b"version https://git-lfs": _POINTER,
    b"<!doctype": _PAGE,
    b"<html": _PAGE,
}
_REMEDIES = {
    _NUMPY: "a mel is read from a file whose name ends in .npy",
    _ARCHIVE: "save the mel with numpy.save(path, values)",
    _POINTER: "get the file itself with git lfs pull",
    _PAGE: "download the file itself",
}


def kind_of(head: bytes) -> str | None:
    """Kind of a file, such as `a WAV file`; None where its beginning is that of no known kind.

    Args:
        head: First bytes of the file, `HEAD_BYTES` or fewer if it is shorter.
    """
    lower = head.lower()
    for beginning, kind in _KINDS.items():
        if head.startswith(beginning) or (kind == _PAGE and lower.startswith(beginning)):
            return kind
    return "an MP4 file" if head[4:8] == b"ftyp" else None


def content_remedy(head: bytes) -> str | None:
    """What a file is instead of a recording or a mel, and what to do; None where its beginning does not reveal it.

    Args:
        head: First bytes of the file, `HEAD_BYTES` or fewer if it is shorter.
    """
    kind = kind_of(head)
    return None if kind not in _REMEDIES else f"this is {kind}; {_REMEDIES[kind]}"
