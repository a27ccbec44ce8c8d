"""Every published form of the same weights gives the same audio; anything else a `CheckpointError` and nothing more."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from voirs_vocoder.reference_models import CheckpointError, get_family
from voirs_vocoder.reference_models.checkpoints.reading import (
    fitted_model,
    load_into,
    read_checkpoint,
    save_safetensors,
)
from voirs_vocoder.reference_models.errors import CheckpointWarning
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan

pytestmark = pytest.mark.numeric

State = dict[str, Tensor]


def serialized(value: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def official(state: State) -> State:
    return state


def parametrized(state: State) -> State:
    """The names that torch's newer weight norm gives, with torch itself as the witness."""
    witness = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 1, 1)).state_dict()
    assert list(witness) == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    return {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for name, tensor in state.items()
    }


def folded(state: State) -> State:
    """w = g * v / ||v||, Salimans and Kingma 2016, equation 2."""
    plain = {name: tensor for name, tensor in state.items() if not name.endswith(("weight_g", "weight_v"))}
    for name, gain in state.items():
        if name.endswith("weight_g"):
            direction = state[name.removesuffix("g") + "v"]
            norm = direction.flatten(1).norm(dim=1).reshape(gain.shape)
            plain[name.removesuffix("_g")] = gain * direction / norm
    return plain


CONTAINERS: dict[str, Callable[[State], bytes]] = {
    "official zip": lambda state: serialized({"generator": state}),
    "official legacy": lambda state: serialized({"generator": state}, legacy=True),
    "plain zip": serialized,
    "plain legacy": lambda state: serialized(state, legacy=True),
    "data parallel": lambda state: serialized({f"module.{name}": value for name, value in state.items()}),
    "safetensors": safetensors.torch.save,
}


@pytest.fixture
def tiny_model(tiny_hifigan_config) -> HifiGan:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HifiGan(HifiGanConfig.from_mapping(tiny_hifigan_config)).requires_grad_(False)
        for name, parameter in model.named_parameters():
            if name.endswith("weight_g"):  # so that g and ||v|| differ, as they do after training
                parameter.mul_(torch.rand_like(parameter) + 0.5)
    return model


@pytest.fixture
def tiny_state(tiny_model) -> State:
    return dict(tiny_model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("form", [official, parametrized, folded], ids=lambda form: form.__name__)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_form_gives_the_same_audio(
    tmp_path, tiny_model, tiny_state, tiny_hifigan_config_file, form, container
):
    path = tmp_path / "weights.misleading.zip"
    path.write_bytes(CONTAINERS[container](form(tiny_state)))
    model = get_family("hifigan").load(path, tiny_hifigan_config_file)
    mel = torch.linspace(-11.0, 2.0, 10 * 20).reshape(1, 10, 20)
    torch.testing.assert_close(model(mel), tiny_model(mel), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("official zip", "torch-zip"),
        ("plain legacy", "torch-pickle"),
        ("safetensors", "safetensors"),
    ],
)
def test_the_format_is_recognised_by_content(tmp_path, tiny_state, container, name):
    for extension in ("pt", "safetensors", "txt"):
        path = tmp_path / f"weights.{extension}"
        path.write_bytes(CONTAINERS[container](tiny_state))
        assert read_checkpoint(path, weights_keys=("generator",)).format == name


def test_half_precision_weights_become_float32(tmp_path, tiny_state):
    path = tmp_path / "half"
    path.write_bytes(serialized({name: tensor.half() for name, tensor in tiny_state.items()}))
    tensors = read_checkpoint(path).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_saved_safetensors_are_the_same_bytes_twice_and_the_same_weights(tmp_path, tiny_state):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_safetensors(tiny_state, first)
    save_safetensors(read_checkpoint(first).tensors, second)
    assert first.read_bytes() == second.read_bytes()
    for name, tensor in read_checkpoint(second).tensors.items():
        assert torch.equal(tensor, tiny_state[name]), name


class Payload:
    """What an attacker puts into a pickle: unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize(
    "write",
    [
        serialized,
        lambda payload: serialized(payload, legacy=True),
        lambda payload: serialized({"generator": payload}),
        lambda payload: serialized({"generator": {"w": torch.ones(1)}, "extra": payload}),
        pickle.dumps,
    ],
    ids=["zip", "legacy", "under the key", "beside good weights", "plain pickle"],
)
def test_code_in_a_checkpoint_never_runs(tmp_path, write):
    canary, path = tmp_path / "canary", tmp_path / "checkpoint"
    path.write_bytes(write(Payload(f"touch {canary}")))
    with pytest.raises(CheckpointError, match="code"):
        read_checkpoint(path, weights_keys=("generator",))
    assert not canary.exists()


def test_the_refusal_names_what_would_have_run(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized(Payload("true")))
    with pytest.raises(CheckpointError, match="system") as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)


def deflated(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    return buffer.getvalue()


def of_a_later_zip_version(data: bytes) -> bytes:
    """The first entry of the central directory asks for a zip version that nobody has."""
    start = data.find(b"PK\x01\x02") + 6
    return data[:start] + b"\xff\x00" + data[start + 2 :]


GOOD = serialized({"w": torch.ones(3)})
UNUSABLE = {
    "empty": (b"", "empty"),
    "random bytes": (bytes(range(256)) * 8, "neither a PyTorch checkpoint nor"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "neither a PyTorch checkpoint nor"),
    "cut zip": (GOOD[: len(GOOD) // 2], "cut off"),
    "cut legacy": (serialized({"w": torch.ones(300)}, legacy=True)[:-400], "cut off"),
    "cut safetensors": (safetensors.torch.save({"w": torch.ones(300)})[:-400], "safetensors"),
    "zip of a later version": (of_a_later_zip_version(GOOD), "broken"),
    "zip bomb": (deflated(serialized({"w": torch.zeros(1 << 20)})), "compressed archive"),
    "stride bomb": (serialized({"w": torch.zeros(1).expand(1 << 40)}), "w"),
    "empty dictionary": (serialized({}), "must hold a state dict"),
    "list": (serialized([torch.ones(3)]), "must hold a state dict, got list"),
    "discriminator": (serialized({"mpd": {}, "msd": {}, "steps": 7}), "mpd, msd, steps.*'generator'"),
    "integers": (serialized({"w": torch.ones(3, dtype=torch.int64)}), "floating point, w is torch.int64"),
    "NaN": (serialized({"w": torch.tensor([1.0, float("nan")])}), "finite, w has NaN"),
    "infinity": (safetensors.torch.save({"w": torch.tensor([float("inf")])}), "finite, w has"),
    "too large for float32": (serialized({"w": torch.tensor([1e300], dtype=torch.float64)}), "finite, w has"),
    "sparse": (serialized({"w": torch.eye(3).to_sparse()}), "w"),
    "without data": (serialized({"w": torch.empty(3, device="meta")}), "w"),
    "eight-bit floats": (safetensors.torch.save({"w": torch.ones(3).to(torch.float8_e4m3fn)}), "w is"),
    "two names that are one": (serialized({1: torch.ones(3), "1": torch.zeros(3)}), "1"),
}


@pytest.mark.parametrize(("data", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_refused(tmp_path, data, message):
    path = tmp_path / "checkpoint"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_checkpoint(path, weights_keys=("generator",))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="cannot read"):
            read_checkpoint(path)


def test_a_checkpoint_of_another_configuration_lists_every_difference(tmp_path, tiny_model, tiny_state):
    gone = tiny_state.pop("conv_pre.bias")
    tiny_state["conv_between.bias"] = gone
    tiny_state["conv_post.bias"] = torch.zeros(2)
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized(tiny_state))
    with pytest.raises(CheckpointError) as raised:
        load_into(tiny_model, read_checkpoint(path))
    for part in (
        "1 missing: conv_pre.bias",
        "1 unexpected: conv_between.bias",
        "1 mis-shaped: conv_post.bias [2] instead of [1]",
    ):
        assert part in str(raised.value)


def test_a_half_folded_checkpoint_is_not_guessed_at(tmp_path, tiny_model, tiny_state):
    del tiny_state["conv_pre.weight_g"]
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized(tiny_state))
    with pytest.raises(CheckpointError, match=r"1 missing: conv_pre\.weight_g"):
        load_into(tiny_model, read_checkpoint(path))


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module._orig_mod."]
)
def test_prefixes_of_parallel_and_compiled_models_are_dropped(tmp_path, tiny_state, prefix):
    path = tmp_path / "g_1"
    path.write_bytes(serialized({"generator": prefixed(prefix, tiny_state)}))
    assert read_checkpoint(path, weights_keys=("generator",)).tensors.keys() == tiny_state.keys()


def test_names_within_a_partly_compiled_model_are_those_of_the_plain_one(tmp_path):
    path = tmp_path / "g_1"
    path.write_bytes(serialized({"ups.0._orig_mod.weight": torch.ones(1), "conv_pre.weight": torch.ones(1)}))
    assert set(read_checkpoint(path).tensors) == {"ups.0.weight", "conv_pre.weight"}


TRAININGS: dict[str, tuple[Callable[[State], object], str | None]] = {
    "lightning": (
        lambda state: {"epoch": 1, "state_dict": prefixed("generator.", state), "hyper_parameters": {}},
        "'state_dict'",
    ),
    "a lone state dict": (
        lambda state: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
        "'model'",
    ),
    "with a discriminator": (
        lambda state: {"model": {"generator": state, "discriminator": {"a.b": torch.ones(1)}}},
        None,
    ),
    "names of a whole training": (
        lambda state: prefixed("model_g.", state) | {"model_d.conv.weight": torch.ones(1)},
        "left out 1 others",
    ),
    "averaged alone": (lambda state: {"ema": state}, r"'ema', which are averaged \(EMA\)"),
    "averaged beside": (
        lambda state: {"generator": state, "generator_ema": prefixed("", state)},
        r"'generator'; the averaged \(EMA\) ones under 'generator_ema' were not used",
    ),
    "averaging model": (
        lambda state: prefixed("module.", state) | {"n_averaged": torch.tensor(7)},
        None,
    ),
    "numbers of NumPy": (
        lambda state: {"generator": state, "steps": np.int64(7), "loss": np.float32(0.5), "seen": np.ones(3)},
        None,
    ),
}


@pytest.mark.parametrize(("saved", "said"), TRAININGS.values(), ids=TRAININGS)
def test_the_weights_are_found_in_what_a_training_saved(tmp_path, tiny_model, tiny_state, saved, said):
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized(saved(tiny_state)))
    checkpoint = read_checkpoint(path, weights_keys=("generator",))
    with warnings.catch_warnings() if said is None else pytest.warns(CheckpointWarning, match=said):
        if said is None:
            warnings.simplefilter("error")
        model = fitted_model(lambda: HifiGan(tiny_model.config), checkpoint)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tiny_state[name]), name


def test_a_checkpoint_that_contains_itself_is_refused(tmp_path):
    training = {"ema": {"a.b": torch.ones(1)}}
    training["generator"] = training
    (tmp_path / "checkpoint").write_bytes(serialized(training))
    with pytest.raises(CheckpointError, match="levels deep"):
        read_checkpoint(tmp_path / "checkpoint", weights_keys=("generator",))


def test_several_state_dicts_are_not_chosen_from(tmp_path, tiny_state):
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized({"ema": tiny_state, "net": prefixed("", tiny_state)}))
    with pytest.raises(CheckpointError, match=r"several state dicts.*'ema'"):
        read_checkpoint(path, weights_keys=("generator",))


def test_the_file_of_the_discriminators_names_that_of_the_generator(tmp_path, tiny_state):
    (tmp_path / "g_00000007").write_bytes(serialized({"generator": tiny_state}))
    path = tmp_path / "do_00000007"
    path.write_bytes(serialized({"mpd": {"d.0.weight": torch.ones(1)}, "msd": {}, "steps": 7}))
    with pytest.raises(CheckpointError, match=r"discriminators of a training.*g_00000007 lies beside"):
        read_checkpoint(path, weights_keys=("generator",))


def test_an_archive_that_was_compressed_again_is_read(tmp_path, tiny_state):
    path = tmp_path / "checkpoint"
    path.write_bytes(deflated(serialized({"generator": tiny_state})))
    assert read_checkpoint(path, weights_keys=("generator",)).tensors.keys() == tiny_state.keys()


def test_an_archive_around_a_checkpoint_names_the_file_inside(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("g_02500000", GOOD)
    with pytest.raises(CheckpointError, match=r"g_02500000\); extract it"):
        read_checkpoint(path)


def test_a_wrong_size_in_the_directory_of_an_archive_does_not_inflate_it(tmp_path):
    data = deflated(serialized({"w": torch.zeros(1 << 20)}))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"/data/0") + 1)
    (tmp_path / "bomb").write_bytes(data[: entry + 24] + (64).to_bytes(4, "little") + data[entry + 28 :])
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "bomb")


def test_metadata_of_safetensors_is_bounded_before_it_is_parsed(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save({"w": torch.ones(1)}, {"note": "x" * (9 << 20)}))
    with pytest.raises(CheckpointError, match="describes its tensors in at most"):
        read_checkpoint(path)


def test_a_configuration_of_gigabytes_allocates_nothing_before_the_weights_are_compared(
    tmp_path, tiny_hifigan_config, tiny_state
):
    (tmp_path / "config.json").write_text(
        json.dumps(
            tiny_hifigan_config
            | {"num_mels": 1024, "upsample_initial_channel": 4096, "resblock_kernel_sizes": [255, 255]}
        ),
        encoding="utf-8",
    )
    (tmp_path / "g_1").write_bytes(serialized({"generator": tiny_state}))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + (192 << 20), hard))
    try:
        with pytest.raises(CheckpointError, match="mis-shaped: conv_pre"):
            get_family("hifigan").load(tmp_path / "g_1", None)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_tensors_that_share_memory_do_not_add_up_to_more_than_the_file(tmp_path):
    one = torch.ones(1 << 12).half()
    path = tmp_path / "checkpoint"
    path.write_bytes(serialized({f"w{number}": one for number in range(64)}))
    with pytest.raises(CheckpointError, match=r"refused.*claims"):
        read_checkpoint(path)


SEEDS = [
    GOOD,
    serialized({"w": torch.ones(3)}, legacy=True),
    safetensors.torch.save({"w": torch.ones(3), "b": torch.zeros(2)}),
]


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data) - 1))
        data[position] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "checkpoint"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), mutated()))
@example(b"\x80")
@example(b"PK\x03\x04")
@example(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
def test_any_bytes_give_weights_or_a_checkpoint_error(scratch, data):
    scratch.write_bytes(data)
    try:
        tensors = read_checkpoint(scratch).tensors
    except CheckpointError:
        return
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
