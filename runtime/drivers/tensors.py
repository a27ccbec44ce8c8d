"""What a driver relies on in the graphs that it runs: inputs and outputs by name, their channels and their rates."""

from __future__ import annotations

from collections.abc import Mapping

from voirs_vocoder.runtime.artifact.axes import axis_size
from voirs_vocoder.runtime.artifact.manifest import (
    BATCH_ROLES,
    EXTRAPOLATOR_ROLE,
    STREAM_ROLES,
    GraphEntry,
    Manifest,
    TensorInfo,
)
from voirs_vocoder.runtime.drivers.row_graph import LENGTHS
from voirs_vocoder.runtime.errors import ArtifactError
from voirs_vocoder.runtime.streaming.graph_stream import BEGIN, END_FRAME, NEXT_STATE, STATE

__all__ = ["require_tensors"]

_Names = tuple[tuple[str, ...], tuple[str, ...]]

_OFFLINE: Mapping[str, Mapping[str, _Names]] = {
    "direct": {"offline": (("mel",), ("audio",)), EXTRAPOLATOR_ROLE: (("mel",), ("future",))},
    "flow": {"offline": (("mel", "noise"), ("audio",))},
    "diffusion": {
        "conditioner": (("mel",), ("conditioner",)),
        "step": (("noisy_audio", "step", "conditioner"), ("predicted_noise",)),
    },
}
"""Driver and role to the names of the graph's inputs and outputs."""

_PER_UTTERANCE = ("step", BEGIN, END_FRAME, LENGTHS)


def require_tensors(manifest: Manifest, entry: GraphEntry) -> None:
    """Compare the inputs and outputs that a manifest states for a graph with what the driver gives and takes.

    Args:
        manifest: Manifest of the artifact.
        entry: Entry of a graph that the artifact's driver is about to run.

    Raises:
        ArtifactError: A name, a number of channels, or a number of values per mel frame is another one.
    """
    wanted = _names(manifest.driver, entry.role)
    for what, names, tensors in zip(
        ("inputs", "outputs"), wanted, (entry.inputs, entry.outputs), strict=True
    ):
        if {tensor.name for tensor in tensors} != set(names) or len(tensors) != len(names):
            raise ArtifactError(
                f"{entry.file.path}: a {entry.role} graph must have the {what} {', '.join(names)}, the manifest states "
                f"{', '.join(repr(tensor.name) for tensor in tensors[:8])}; export the artifact again"
            )
    for tensor in (*entry.inputs, *entry.outputs):
        if not _suits(manifest, entry, tensor):
            raise ArtifactError(
                f"{entry.file.path}: the shape of {tensor.name} must follow from hop length {manifest.hop_length} and "
                f"{manifest.mel.n_mels} mel bands, the manifest states {list(tensor.shape)}; export the artifact again"
            )


def _names(driver: str, role: str) -> _Names:
    for offline, (inputs, outputs) in _OFFLINE[driver].items():
        if role == offline:
            return inputs, outputs
        if role == BATCH_ROLES.get(offline):
            return (*inputs, LENGTHS), outputs
        if role == STREAM_ROLES.get(offline):
            return (*inputs, BEGIN, END_FRAME, STATE), (*outputs, NEXT_STATE)
    raise ArtifactError(
        f"the driver {driver!r} runs no graph of the role {role!r}; export the artifact again"
    )


def _suits(manifest: Manifest, entry: GraphEntry, tensor: TensorInfo) -> bool:
    if tensor.name in _PER_UTTERANCE:
        return tensor.shape == ("batch",)
    if tensor.name in (STATE, NEXT_STATE):
        return tensor.shape == ("batch", entry.facts.state_size)
    if len(tensor.shape) != 3 or tensor.shape[0] != "batch" or not isinstance(tensor.shape[1], int):
        return False
    channels, last = tensor.shape[1:]
    if tensor.name == "future" or entry.role == EXTRAPOLATOR_ROLE:
        return channels == manifest.mel.n_mels and isinstance(last, int)
    hop_length = manifest.hop_length
    rate = axis_size(last, batch=0, frames=1, hop_length=hop_length)
    grows = isinstance(last, str) and rate > 0
    if tensor.name == "mel":
        return grows and (channels, rate) == (manifest.mel.n_mels, 1)
    if tensor.name == "noise":
        return grows and channels * rate == hop_length
    return grows and rate == hop_length and (channels == 1 or tensor.name == "conditioner")
