"""The error of a batch of which some utterances failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.errors import VoirsVocoderError

__all__ = ["BatchError"]


class BatchError(VoirsVocoderError):
    """Some utterances of a batch failed; the audio of the others is in `audios`.

    Attributes:
        audios: Audio of each utterance by position; None where the utterance failed.
        failures: Error of each utterance that failed, by position.
    """

    def __init__(
        self, audios: Sequence[AudioBuffer | None], failures: Mapping[int, VoirsVocoderError]
    ) -> None:
        """Make the message from the first failure and the number of failures.

        Args:
            audios: Audio of each utterance by position; None where the utterance failed.
            failures: Error of each utterance that failed, by position; at least one.
        """
        self.audios = list(audios)
        self.failures = dict(failures)
        first = min(self.failures)
        others = len(self.failures) - 1
        more = f", and {others} more failed" if others else ""
        super().__init__(
            f"utterance {first} of {len(self.audios)}: {self.failures[first]}{more}; the others are in `audios`"
        )
