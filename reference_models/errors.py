"""The errors of this package. Importable without torch, so that a command line can name them.

Each message states the rule, the value received and the remedy.
"""

from voirs_vocoder.runtime.text import one_line

__all__ = ["CheckpointError", "CheckpointWarning", "ModelConfigError", "ReferenceModelError"]


class ReferenceModelError(Exception):
    """Base of the errors that a caller can fix: a wrong file, a wrong configuration, an unknown family."""

    def __init__(self, message: str = "") -> None:
        """Keep the message as one printable line, also where a part of it comes from a file or a library.

        Args:
            message: Rule, value received and remedy.
        """
        super().__init__(one_line(message))


class CheckpointError(ReferenceModelError):
    """A checkpoint cannot be read safely, or does not fit the model it was given for."""


class ModelConfigError(ReferenceModelError):
    """A model configuration is malformed, or describes a model that cannot work."""


class CheckpointWarning(UserWarning):
    """A checkpoint holds several sets of weights; the message names those that were taken."""
