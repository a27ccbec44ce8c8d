"""Whole pickled modules: the weights come out, nothing else does, in both of torch's formats."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from voirs_vocoder.reference_models.checkpoints.pickled_module import unpickle_modules
from voirs_vocoder.reference_models.checkpoints.reading import read_checkpoint
from voirs_vocoder.reference_models.checkpoints.weight_norm import weight_normed
from voirs_vocoder.reference_models.errors import CheckpointError

CLASSES = frozenset({"glow.WaveGlow"})


@pytest.fixture
def glow(monkeypatch):
    """A module `glow` with a class as the official code has it; gone again when the files have been written."""
    module = types.ModuleType("glow")

    class WaveGlow(nn.Module):
        def __init__(self):
            super().__init__()
            self.upsample = nn.ConvTranspose1d(2, 2, 4, 2)
            self.WN = nn.ModuleList([weight_normed(nn.Conv1d(2, 3, 1))])
            self.register_buffer("scale", torch.arange(3.0))

    WaveGlow.__module__, WaveGlow.__qualname__ = "glow", "WaveGlow"
    module.WaveGlow = WaveGlow
    monkeypatch.setitem(sys.modules, "glow", module)
    return module


def saved(value, *, zipped):
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream"])
def test_the_weights_of_a_pickled_module_are_its_state_dict(glow, tmp_path, zipped):
    torch.manual_seed(0)
    model = glow.WaveGlow()
    path = tmp_path / "model.pt"
    path.write_bytes(saved({"model": model, "iteration": 7, "learning_rate": 1e-4}, zipped=zipped))
    del sys.modules["glow"]
    checkpoint = read_checkpoint(path, weights_keys=("model",), module_classes=CLASSES)
    expected = model.state_dict()
    assert checkpoint.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(checkpoint.tensors[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream"])
def test_a_state_dict_is_read_as_well(tmp_path, zipped):
    path = tmp_path / "model.pt"
    state = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.ones(2).half()}
    path.write_bytes(saved({"state_dict": state}, zipped=zipped))
    checkpoint = read_checkpoint(path, weights_keys=("model", "state_dict"), module_classes=CLASSES)
    torch.testing.assert_close(checkpoint.tensors["a"], state["a"])


class Foreign:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream"])
def test_a_foreign_class_is_refused_by_name_and_not_executed(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    data = saved({"model": Foreign()}, zipped=zipped)
    with pytest.raises(CheckpointError, match=r"refused.*class (posix|nt)\.system"):
        unpickle_modules(data, CLASSES)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "torch.nn.modules.conv.Conv2d", "torch.storage._load_from_bytes"]
)
def test_what_is_not_needed_is_refused(name):
    module, _, leaf = name.rpartition(".")
    stream = pickle.PROTO + b"\x02" + f"c{module}\n{leaf}\n".encode() + b"."
    with pytest.raises(CheckpointError, match=r"refused.*class"):
        unpickle_modules(archive(stream), CLASSES)


def test_a_pickle_that_would_exhaust_memory_is_refused():
    leaping = b"\x80\x02}r\xff\xff\xff\x7f."
    with pytest.raises(CheckpointError, match="numbers its objects in leaps"):
        unpickle_modules(archive(leaping), CLASSES)


def test_a_tensor_beyond_its_storage_is_refused():
    class Liar:
        def __reduce__(self):
            storage = torch.zeros(2).untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, 0, (1000, 1000), (0, 0), False, {})

    with pytest.raises(CheckpointError, match="does not lie within its storage"):
        unpickle_modules(saved({"model": Liar()}, zipped=True), CLASSES)


def pickled(*parts: bytes) -> bytes:
    return archive(b"\x80\x02" + b"".join(parts) + b".")


def test_a_module_that_is_shared_along_a_chain_is_refused_at_once():
    # Each level names the one below twice: 2**30 paths lead to the innermost.
    level = b"cglow\nWaveGlow\n)R"
    for number in range(30):
        key = b"r" + (2 * number).to_bytes(4, "little")
        get = b"j" + (2 * number).to_bytes(4, "little")
        name = b"X\x01\x00\x00\x00"
        level = (
            level
            + key
            + b"0cglow\nWaveGlow\n)R}X\x08\x00\x00\x00_modules}"
            + (name + b"a" + get + b"s" + name + b"b" + get + b"ssb")
        )
    loaded = unpickle_modules(pickled(level), CLASSES)
    with pytest.raises(CheckpointError, match="lies at two places"):
        loaded.state_dict()


def test_a_key_of_nested_tuples_is_not_hashed():
    # A tuple of itself twice, 60 levels deep, used as a key.
    nested = b")" + b"2\x86" * 60
    assert unpickle_modules(pickled(b"}", nested, b"K\x01s"), CLASSES) == {}


def test_dictionaries_of_python_2_are_read():
    stream = pickled(b"ccollections\nOrderedDict\n]X\x01\x00\x00\x00aK\x07\x86a\x85R")
    assert unpickle_modules(stream, CLASSES) == {"a": 7}


@pytest.mark.parametrize("name", [b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"])
def test_long_arguments_that_are_named_many_times_are_refused(name):
    # The same list of 100,000 pairs, and the call with it, 20,000 times.
    pairs = b"](" + b"h\x01" * 100_000 + b"e"
    stream = pickled(b"K\x01K\x02\x86q\x010", pairs, b"q\x020", (name + b"h\x02\x85R0") * 20_000, b"N")
    with pytest.raises(CheckpointError):
        unpickle_modules(stream, CLASSES)


@pytest.mark.parametrize("target", [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"])
def test_attributes_that_a_pickle_sets_change_nothing(target):
    unpickle_modules(pickled(target, b"N}X\x0c\x00\x00\x00__defaults__)s\x86b"), CLASSES)
    assert torch.equal(unpickle_modules(saved({"w": torch.ones(2)}, zipped=True), None)["w"], torch.ones(2))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read_but_never_crashes(cut, flip, value):
    data = bytearray(saved({"model": {"w": torch.ones(4)}}, zipped=False))
    data[flip % len(data)] = value
    with contextlib.suppress(CheckpointError):
        unpickle_modules(bytes(data[: max(2, len(data) - cut)]), CLASSES)


def archive(pickled):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickled)
    return stream.getvalue()
