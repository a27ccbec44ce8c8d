"""The runtime's errors. Each message states the rule, the value received and the remedy, in one line.

`InputError`, `ArtifactError` and `ProviderError` report problems that the caller can fix; the command line turns them
into exit status 2.
"""

from voirs_vocoder.runtime.text import one_line

__all__ = [
    "ArtifactError",
    "DeviceMemoryError",
    "InputError",
    "ProviderError",
    "TooShortError",
    "VoirsVocoderError",
]


class VoirsVocoderError(Exception):
    """Base of every error that a caller can fix."""

    def __init__(self, message: str = "") -> None:
        """Keep the message as one printable line, also where a part of it comes from a file or a library.

        Args:
            message: Rule, value received and remedy.
        """
        super().__init__(one_line(message))


class InputError(VoirsVocoderError):
    """A mel, an audio file, an option or an output path cannot be used."""


class TooShortError(InputError):
    """Audio is too short for one mel frame."""


class ArtifactError(VoirsVocoderError):
    """An artifact is damaged, incomplete, unsafe, or of a later format."""


class ProviderError(VoirsVocoderError):
    """A requested provider, precision or engine is unknown or cannot run on this machine."""


class DeviceMemoryError(ProviderError):
    """A device has too little free memory for an input; a shorter one may fit."""
