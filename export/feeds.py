"""A graph's inputs for the mels that it is tried or calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.drivers.flow import DEFAULT_SIGMA
from voirs_vocoder.runtime.manifest import GraphEntry
from voirs_vocoder.runtime.noise import grouped_noise

__all__ = ["feeds_from_mels"]


def feeds_from_mels(
    entry: GraphEntry, mels: Sequence[NDArray[np.float32]], hop_length: int
) -> list[dict[str, NDArray[np.generic]]]:
    """One run of the graph per mel, with the noise that the runtime would feed; the seed is the mel's number.

    Args:
        entry: Its inputs decide what is fed.
        mels: Each float32 [n_mels, frames].
        hop_length: Audio samples per mel frame.

    Raises:
        ExportError: The graph takes something that cannot be made from a mel.
    """
    names = {tensor.name: tensor for tensor in entry.inputs}
    if not set(names) <= {"mel", "noise"}:
        raise ExportError(
            f"graph {entry.role!r}: it can be tried on mel and noise, it takes {', '.join(names)}"
        )
    feeds: list[dict[str, NDArray[np.generic]]] = []
    for seed, mel in enumerate(mels):
        feed: dict[str, NDArray[np.generic]] = {"mel": mel[np.newaxis]}
        if "noise" in names:
            n_group = names["noise"].shape[1]
            if not isinstance(n_group, int):
                raise ExportError(
                    f"graph {entry.role!r}: noise needs a fixed number of channels, got {n_group}"
                )
            groups = mel.shape[1] * hop_length // n_group
            feed["noise"] = np.float32(DEFAULT_SIGMA) * grouped_noise(seed, 0, 0, groups, n_group)[np.newaxis]
        feeds.append(feed)
    return feeds
