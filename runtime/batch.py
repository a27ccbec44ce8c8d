"""Several utterances: one by one, or several in one run of a graph that zeroes what lies behind each end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.providers.session import Session

__all__ = ["LENGTHS", "BatchError", "BatchGraph", "groups_within"]

LENGTHS = "lengths"
"""The input of a batch graph that says how many mel frames each row has."""


class BatchError(VoirsVocoderError):
    """Some utterances of a batch failed; the others are here.

    Attributes:
        audios: By position; None where an utterance failed.
        failures: Position to its error.
    """

    def __init__(
        self, audios: Sequence[AudioBuffer | None], failures: Mapping[int, VoirsVocoderError]
    ) -> None:
        """State the first failure and how many there are."""
        self.audios = list(audios)
        self.failures = dict(failures)
        first = min(self.failures)
        others = len(self.failures) - 1
        more = f", and {others} more failed" if others else ""
        super().__init__(
            f"utterance {first} of {len(self.audios)}: {self.failures[first]}{more}; the others are in `audios`"
        )


@dataclass(frozen=True, eq=False)
class BatchGraph:
    """A loaded `batch` graph.

    Attributes:
        session: What runs it.
        max_frames: Most mel frames of all rows together, padding included.
        hop_length: Audio samples per mel frame.
    """

    session: Session
    max_frames: int
    hop_length: int

    def run(
        self, rows: Sequence[Mapping[str, NDArray[np.float32]]], lengths: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """Several utterances at once.

        Args:
            rows: The inputs of each, as for the offline graph but without the batch axis; time is the last axis.
            lengths: Mel frames of each.

        Returns:
            The audio of each, [samples].
        """
        longest = max(lengths)
        inputs: dict[str, NDArray[np.generic]] = {LENGTHS: np.array(lengths, np.int64)}
        for name, values in rows[0].items():
            rate = values.shape[-1] // lengths[0]
            stacked = np.zeros((len(rows), *values.shape[:-1], longest * rate), np.float32)
            for row, own in enumerate(rows):
                stacked[row, ..., : own[name].shape[-1]] = own[name]
            inputs[name] = stacked
        audio = self.session.run(inputs)["audio"]
        return [audio[row, 0, : length * self.hop_length].copy() for row, length in enumerate(lengths)]


def groups_within(lengths: Mapping[int, int], max_frames: int) -> Iterator[list[int]]:
    """Positions to run together: similar lengths, padded to no more than `max_frames` altogether.

    Args:
        lengths: Position to mel frames.
        max_frames: An utterance longer than this stands alone.
    """
    group: list[int] = []
    for position in sorted(lengths, key=lambda place: lengths[place]):
        # Lengths ascend, so the last one is what the group is padded to.
        if group and (len(group) + 1) * lengths[position] > max_frames:
            yield group
            group = []
        group.append(position)
    if group:
        yield group
