"""The runtime's errors. Each message states the rule, the value received and the remedy, in one line.

`InputError`, `ArtifactError` and `ProviderError` are for what the caller can mend; the command line turns them into
exit status 2.
"""

__all__ = ["ArtifactError", "InputError", "ProviderError", "VoirsVocoderError"]


class VoirsVocoderError(Exception):
    """Base of every error that a caller can mend."""


class InputError(VoirsVocoderError):
    """A mel, an audio file, an option or an output path cannot be used."""


class ArtifactError(VoirsVocoderError):
    """An artifact is damaged, incomplete, unsafe, or of a later format."""


class ProviderError(VoirsVocoderError):
    """A provider, precision or engine that was asked for is unknown or cannot run here."""
