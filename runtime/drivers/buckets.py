"""Few fixed shapes for inputs of any length: a GPU, TensorRT and OpenVINO prepare every new shape before they run it.

An input is padded to the smallest bucket that holds it, its length goes along, and the graph keeps the padding out of
every layer, so the output equals that of the input alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import InputError

__all__ = ["BATCH_SIZES", "Buckets", "buckets_for", "usual_frames"]

BATCH_SIZES = (1, 4, 16)
"""Numbers of rows of the buckets, where several utterances run together."""

_SHORTEST_FRAMES = 32
# Longer windows are no faster, and each bucket costs memory and time to prepare.
_LONGEST_FRAMES = 4096
# A size this part of a step below the longest one would save next to nothing.
_LEAST_PART = 0.25


@dataclass(frozen=True)
class Buckets:
    """The shapes in which a graph runs.

    Attributes:
        frames: Lengths of the buckets in mel frames, ascending.
        max_frames: Most mel frames of all rows of a bucket together; a bucket of one row may always be as long as the
            longest of `frames`.
        max_batch: Most rows of a bucket; None for any number.
        window_frames: Mel frames of the shortest possible window, which the longest bucket must hold.
    """

    frames: tuple[int, ...]
    max_frames: int
    max_batch: int | None = None
    window_frames: int = 1

    @property
    def longest(self) -> int:
        """Length of the longest bucket, in mel frames."""
        return self.frames[-1]

    def frames_for(self, frames: int) -> int:
        """Find the length of the shortest bucket that holds an input.

        Args:
            frames: Length of the input in mel frames, at most `longest`.

        Raises:
            InputError: No bucket holds the input.
        """
        for size in self.frames:
            if frames <= size:
                return size
        raise InputError(
            f"an input must fit the longest bucket, {self.longest} mel frames, got {frames}; cut it into windows"
        )

    def batches_for(self, size: int) -> tuple[int, ...]:
        """Find the numbers of rows that the buckets of a length may have, ascending.

        Args:
            size: One of `frames`.
        """
        most = min(self.max_frames // size, self.max_batch or BATCH_SIZES[-1])
        return tuple(batch for batch in BATCH_SIZES if batch <= max(1, most))

    def batch_for(self, rows: int, size: int) -> int:
        """Choose the number of rows of the next run, which may be fewer than are waiting, or more.

        Args:
            rows: Number of rows that are waiting, at least 1.
            size: Length of the bucket, one of `frames`.

        Returns:
            The largest possible number of rows of which more than half are filled.
        """
        return max(batch for batch in self.batches_for(size) if batch == 1 or 2 * rows > batch)

    def without(self, batch: int, size: int) -> Buckets | None:
        """Leave out a bucket that the device has too little memory for, and those that are larger.

        Args:
            batch: Number of rows of the bucket.
            size: Length of the bucket in mel frames.

        Returns:
            What is left; None where no window fits any more.
        """
        if batch > 1:
            return replace(self, max_frames=batch * size - 1)
        left = tuple(frames for frames in self.frames if frames < size)
        return replace(self, frames=left) if left and left[-1] >= self.window_frames else None

    def shapes(self, *, together: bool) -> list[tuple[int, int]]:
        """List all buckets as (rows, mel frames), the smallest first.

        Args:
            together: Whether buckets of several rows are listed too.
        """
        return [
            (batch, size) for size in self.frames for batch in (self.batches_for(size) if together else (1,))
        ]


def buckets_for(
    config: SessionConfig,
    affordable_frames: int,
    context_frames: int,
    max_frames: int | None = None,
    max_batch: int | None = None,
    *,
    per_doubling: int = 1,
) -> Buckets:
    """Choose the buckets of a graph.

    Args:
        config: `SessionConfig.buckets` fixes the lengths; None takes powers of two times 32 mel frames, and the longest
            that the memory budget allows.
        affordable_frames: Most mel frames that the memory budget and the session allow at once.
        context_frames: Mel frames of context and look-ahead of every window; the longest bucket holds one frame more at
            least, so that longer input can run in windows.
        max_frames: Longest input that the session takes, in mel frames; None for any.
        max_batch: Most rows that the session takes; None for any number.
        per_doubling: Number of buckets from one power of two to the next, as `usual_frames` takes it.

    Raises:
        InputError: A length of `config.buckets` is beyond `max_frames`, or all are too short for a window.
    """
    if config.buckets:
        sizes = tuple(sorted(set(config.buckets)))
        if sizes[-1] <= context_frames:
            raise InputError(
                f"the longest of buckets must hold a window's {context_frames} mel frames of context and one more, got "
                f"{sizes[-1]}; use at least {context_frames + 1}"
            )
        if max_frames is not None and sizes[-1] > max_frames:
            raise InputError(
                f"buckets must be at most {max_frames} mel frames, the longest input of the loaded graph, got "
                f"{sizes[-1]}"
            )
        return Buckets(sizes, max(affordable_frames, sizes[-1]), max_batch, context_frames + 1)
    longest = min(max(affordable_frames, 1), max(_LONGEST_FRAMES, 2 * (context_frames + 1)))
    sizes = usual_frames(longest, per_doubling=per_doubling)
    return Buckets(sizes, affordable_frames, max_batch, context_frames + 1)


def usual_frames(longest: int, *, per_doubling: int = 1) -> tuple[int, ...]:
    """Lengths of the buckets where no caller chose them, in mel frames, ascending: powers of two times 32.

    Args:
        longest: Length of the longest bucket, at least 1.
        per_doubling: Number of buckets from one power of two to the next, at least 1, in equal steps.
    """
    sizes: tuple[int, ...] = ()
    size = _SHORTEST_FRAMES
    least = 1.0 + _LEAST_PART / per_doubling
    while size < longest:
        steps = (size + size * step // per_doubling for step in range(per_doubling))
        sizes = (*sizes, *(each for each in steps if least * each <= longest))
        size *= 2
    return (*sizes, longest)
