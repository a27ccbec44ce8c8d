"""The recordings of a folder: which of its entries count as such, decided once for every command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voirs_vocoder.runtime.audio.decoder_av import AV_ENDINGS
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import require_file

__all__ = ["AUDIO_ENDINGS", "recordings_in"]

AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", *AV_ENDINGS)
"""Endings of the files that are read as recordings when a folder is given."""


def recordings_in(folder: Path, endings: Sequence[str] = AUDIO_ENDINGS) -> list[Path]:
    """Paths of the recordings in a folder, sorted by name.

    Folders inside it are not searched. Hidden files are left out, among them the `._` files that macOS writes beside
    each file of a foreign disk.

    Args:
        folder: Folder of recordings.
        endings: Endings of the files that count, in lower case; upper case in a name counts too.

    Raises:
        InputError: There is no such folder, it cannot be listed, it has no such file, or one of them cannot be read, is
            empty, a pipe, a device, or a link that leads nowhere.
    """
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no such folder; give one with recordings") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be listed ({error}); check its permissions") from error
    paths = [
        path
        for path in entries
        if path.suffix.lower() in endings and not path.name.startswith(".") and not _is_folder(path)
    ]
    if not paths:
        raise InputError(f"{folder}: holds no recordings ({', '.join(endings)}); add some")
    for path in paths:
        require_file(path)
    return paths


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to itself
        return False
