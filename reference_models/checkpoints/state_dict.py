"""Where the weights lie in what a training saved, and under which names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from voirs_vocoder.reference_models.checkpoints.inert_pickle import shown
from voirs_vocoder.reference_models.checkpoints.pickled_module import ModuleShell
from voirs_vocoder.reference_models.errors import CheckpointError

__all__ = ["find_state_dict", "left_out", "listed", "plain_names", "weights_of"]

_WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAX_LISTED = 8
_MAX_NAME = 256
_MAX_LEVELS = 4
# Tensors of a file may share memory, as tied weights do; more than this is made to exhaust it.
_MAX_SHARING = 4
# Parts of the keys under which a training keeps what is no generator.
_OTHER_PARTS = ("optim", "sched", "scaler", "discriminator", "mpd", "msd", "mrd")
_AVERAGED_PARTS = ("ema", "averag")
_COMPILED = "_orig_mod"
_PARALLEL = "module."
# What torch.optim.swa_utils.AveragedModel counts beside its weights.
_AVERAGE_COUNT = "n_averaged"


def find_state_dict(loaded: object, weights_keys: tuple[str, ...]) -> tuple[Mapping[str, Tensor], str | None]:
    """Find the one state dict in what a training saved.

    Args:
        loaded: Content of the checkpoint.
        weights_keys: Keys under which official checkpoints of the family hold the weights; the first that is there is
            taken.

    Returns:
        Tensors by name, and what the user should know about the choice; None where nothing was left to choose.

    Raises:
        CheckpointError: The checkpoint holds no state dict, or several.
    """
    place: list[str] = []
    unused = None
    for _ in range(_MAX_LEVELS):
        loaded = _opened(loaded)
        if not isinstance(loaded, dict) or not loaded:
            raise CheckpointError(f"a checkpoint must hold a state dict, got {type(loaded).__name__}")
        strangers = [name for name, value in loaded.items() if not isinstance(value, Tensor)]
        if not strangers:
            return loaded, unused or _remark(place, weights_keys)
        key = next((key for key in weights_keys if _is_container(loaded.get(key))), None)
        if key is not None and not place:
            averaged = [other for other in _state_dicts(loaded) if other[0] != key and _is_averaged(other)]
            if averaged:
                unused = (
                    f"took the weights under {shown(key)!r}; the averaged (EMA) ones under {_path(averaged[0])} were "
                    "not used: save those alone to export them"
                )
        if key is None:
            found = list(_state_dicts(loaded))
            if len(found) != 1:
                raise CheckpointError(_no_choice(loaded, strangers, found, weights_keys))
            place += found[0]
            inner: Any = loaded
            for step in found[0]:
                inner = inner[step]
            loaded = inner
        else:
            place.append(key)
            loaded = loaded[key]
    raise CheckpointError(f"the state dict must lie at most {_MAX_LEVELS} levels deep; save it alone")


def plain_names(
    state: Mapping[str, Tensor], weights_keys: tuple[str, ...]
) -> tuple[dict[str, Tensor], str | None]:
    """Drop what trainers write before names: `_orig_mod.` of compiled and `module.` of parallel models.

    Args:
        state: Tensors by name.
        weights_keys: Names of the generator in a state dict of a whole training.

    Returns:
        Tensors by the generator's own names, and what the user should know about those that were left out; None where
        none was.

    Raises:
        CheckpointError: Two tensors would have the same name.
    """
    names = {key: _without_compiled(str(key)) for key in state if key != _AVERAGE_COUNT}
    remark = None
    while names:
        values = names.values()
        if all(name.startswith(_PARALLEL) for name in values):
            names = {key: name.removeprefix(_PARALLEL) for key, name in names.items()}
            continue
        prefix = next(
            (f"{key}." for key in weights_keys if any(n.startswith(f"{key}.") for n in values)), None
        )
        if prefix is None:
            break
        left = len(names)
        names = {key: name.removeprefix(prefix) for key, name in names.items() if name.startswith(prefix)}
        left -= len(names)
        if left:
            remark = left_out(len(names), prefix, left)
    plain: dict[str, Tensor] = {}
    for key, name in names.items():
        if len(name) > _MAX_NAME:
            raise CheckpointError(f"refused, the name of a weight is longer than {_MAX_NAME} characters")
        if name in plain:
            raise CheckpointError(f"every weight must have a name of its own, {shown(name)!r} appears twice")
        plain[name] = state[key]
    return plain, remark


def weights_of(state: Mapping[str, Tensor], content_bytes: int) -> dict[str, Tensor]:
    """The weights as dense float32 on the CPU.

    Args:
        state: Tensors by name.
        content_bytes: Size of the checkpoint without compression, in bytes.

    Raises:
        CheckpointError: A tensor has another kind of type or layout, is not finite, or claims more numbers than the
            file holds.
    """
    weights: dict[str, Tensor] = {}
    total_bytes = 0
    for name, value in state.items():
        if value.dtype not in _WEIGHT_DTYPES:
            raise CheckpointError(
                f"weights must be floating point, {shown(name)} is {value.dtype}; use float32, float16 or bfloat16"
            )
        if value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
            raise CheckpointError(
                f"weights must be dense and have data, {shown(name)} is {value.layout} on {value.device}"
            )
        # Strides of zero let a few bytes claim to be terabytes.
        claimed_bytes = value.numel() * value.element_size()
        total_bytes += claimed_bytes
        if claimed_bytes > content_bytes or total_bytes > _MAX_SHARING * content_bytes:
            raise CheckpointError(
                f"refused, {shown(name)} claims {value.numel()} numbers in a file of {content_bytes} bytes"
            )
        weight = value.to(torch.float32)
        if not torch.isfinite(weight).all():
            raise CheckpointError(f"weights must be finite, {shown(name)} has NaN or infinity in float32")
        weights[name] = weight
    return weights


def left_out(taken: int, prefix: str, others: int) -> str:
    """What the user should know where a file holds more weights than those of the model.

    Args:
        taken: Number of weights that were taken.
        prefix: Beginning of their names.
        others: Number of the other weights.
    """
    return f"took the {taken} weights whose names begin with {shown(prefix)!r} and left out {others} others"


def listed(names: Sequence[object]) -> str:
    """The first names of a list, for an error."""
    return ", ".join(shown(name) for name in names[:_MAX_LISTED]) + (
        ", ..." if len(names) > _MAX_LISTED else ""
    )


def _opened(value: object) -> object:
    return value.state_dict() if isinstance(value, ModuleShell) else value


def _is_container(value: object) -> bool:
    return isinstance(value, dict | ModuleShell)


def _is_averaged(place: Sequence[str]) -> bool:
    return any(part in step.lower() for step in place for part in _AVERAGED_PARTS)


def _state_dicts(loaded: dict[Any, Any]) -> Iterator[tuple[str, ...]]:
    """Paths to the dictionaries whose every value is a tensor and that name parameters of layers."""
    pending: list[tuple[tuple[str, ...], dict[Any, Any]]] = [((), loaded)]
    seen = {id(loaded)}
    while pending:
        place, within = pending.pop()
        for key, value in within.items():
            if not isinstance(key, str) or not isinstance(value, dict) or id(value) in seen:
                continue
            if any(part in key.lower() for part in _OTHER_PARTS):
                continue
            seen.add(id(value))
            tensors = [isinstance(each, Tensor) for each in value.values()]
            if tensors and all(tensors):
                if any("." in str(name) for name in value):
                    yield (*place, key)
            elif len(place) + 1 < _MAX_LEVELS:
                pending.append(((*place, key), value))


def _remark(place: list[str], weights_keys: tuple[str, ...]) -> str | None:
    if not place or place[-1] in weights_keys:
        return None
    averaged = ", which are averaged (EMA)" if _is_averaged(place) else ""
    expected = f"; the weights are expected under {_alternatives(weights_keys)}" if weights_keys else ""
    return f"took the weights under {_path(place)}{averaged}, the only state dict in the file{expected}"


def _alternatives(weights_keys: tuple[str, ...]) -> str:
    return " or ".join(repr(key) for key in weights_keys)


def _path(place: Sequence[str]) -> str:
    return " / ".join(repr(shown(step)) for step in place)


def _no_choice(
    loaded: dict[str, object],
    strangers: list[str],
    found: Sequence[tuple[str, ...]],
    weights_keys: tuple[str, ...],
) -> str:
    expected = _alternatives(weights_keys)
    if found:
        places = ", ".join(_path(place) for place in found[:_MAX_LISTED])
        wanted = f" under {expected}" if expected else ""
        return f"the file holds several state dicts ({places}); save the one to export{wanted}, or alone"
    hint = f"; the weights are expected under {expected}" if expected else ""
    if any(str(key).lower().startswith(("mpd", "msd", "discriminator")) for key in loaded):
        hint += "; these are the discriminators of a training: give the file of the generator (g_...)"
    return f"not a state dict, these entries are no tensors: {listed(strangers)}{hint}"


def _without_compiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _COMPILED)
