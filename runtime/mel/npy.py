"""Mels in NumPy's .npy format, read without unpickling, whole or in windows."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.content import HEAD_BYTES, kind_of
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.files import open_regular, regular_size
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.mel.values import MelSpectrogram, check_finite, check_layout

__all__ = ["NpyMelSource", "load_mel"]

_ITEM_BYTES = 4
_REMEDY = "save the mel with numpy.save(path, values)"


class NpyMelSource:
    """Windows of a mel in a .npy file. Only the bytes of a window are read; mapped pages would count as memory.

    Args:
        path: A .npy file, float32 [n_mels, frames] or [1, n_mels, frames].
        convention: Convention in which the values were computed.

    Attributes:
        frames: Number of frames in the file.
        convention: Convention in which the values were computed.

    Raises:
        InputError: The file is missing, no .npy file, holds Python objects or anything but float32 of the
            convention's shape, or ends early.
    """

    def __init__(self, path: Path | str, convention: MelConvention) -> None:
        self._path = Path(path)
        self.convention = convention
        with open_regular(self._path) as file:
            size_bytes = regular_size(file.fileno(), str(self._path))
            shape, self._frames_first, dtype = _read_header(file, self._path)
            self._offset_bytes = file.tell()
        self.frames = check_layout(shape, dtype, convention, str(self._path))
        needed_bytes = self._offset_bytes + convention.n_mels * self.frames * _ITEM_BYTES
        if size_bytes < needed_bytes:
            raise InputError(
                f"{self._path}: the header declares {needed_bytes} bytes, the file has {size_bytes}; copy it again"
            )

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read the frames from `start` up to and without `stop`, float32 [n_mels, count]; fewer only at the end.

        Raises:
            InputError: A value is NaN or infinite, or the file has shrunk.
        """
        bands, count = self.convention.n_mels, max(0, min(stop, self.frames) - start)
        with open_regular(self._path) as file:
            if self._frames_first:
                values = self._read_run(file, start * bands, count * bands).reshape(count, bands).T
            else:
                values = np.empty((bands, count), np.float32)
                for band in range(bands):
                    values[band] = self._read_run(file, band * self.frames + start, count)
        check_finite(values, str(self._path), start)
        return np.ascontiguousarray(values)

    def _read_run(self, file: BinaryIO, position: int, count: int) -> NDArray[np.float32]:
        file.seek(self._offset_bytes + position * _ITEM_BYTES)
        data = file.read(count * _ITEM_BYTES)
        if len(data) != count * _ITEM_BYTES:
            raise InputError(f"{self._path}: the file ended early while it was read; copy it again")
        return np.frombuffer(data, np.float32)


def load_mel(path: Path | str, convention: MelConvention) -> MelSpectrogram:
    """Read a whole mel.

    Args:
        path: A .npy file, float32 [n_mels, frames] or [1, n_mels, frames].
        convention: Convention in which the values were computed.

    Returns:
        The mel, with values [n_mels, frames].

    Raises:
        InputError: The file is missing, no .npy file, holds Python objects or anything but float32 of the convention's
            shape, ends early, or holds values that are not finite.
    """
    source = NpyMelSource(path, convention)
    return MelSpectrogram(source.read(0, source.frames), convention)


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head.startswith(np.lib.format.MAGIC_PREFIX):
        found = f"got {kind_of(head) or 'something else'}"
        raise InputError(f"{path}: not a .npy file, {found}; {_REMEDY}")
    try:
        with warnings.catch_warnings():
            # A header that Python 2 wrote is read as well; numpy advises to save the file again.
            warnings.simplefilter("ignore", UserWarning)
            version = np.lib.format.read_magic(file)
            header = None
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                header = np.lib.format.read_array_header_2_0(file)
        if header is None:
            raise InputError(f"{path}: .npy version {version} holds no plain float32; {_REMEDY}")
    except InputError:
        raise
    except Exception as error:  # numpy parses the header as Python, whose parser raises many kinds of errors
        reason = textwrap.shorten(str(error).splitlines()[0] if str(error) else type(error).__name__, 100)
        raise InputError(f"{path}: not a .npy file, its header is damaged ({reason}); {_REMEDY}") from error
    return header
