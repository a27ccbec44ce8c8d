"""The HiFi-GAN reference model against the official implementation, and its computed context against the truth."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.reference_models import ModelConfigError, get_family, published
from voirs_vocoder.reference_models.checkpoints.weight_norm import fold_weight_norm
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.layouts.config_files import read_config
from voirs_vocoder.runtime.files import read_bounded

pytestmark = pytest.mark.numeric

PUBLISHED = {"v1": published.HIFIGAN_V1, "v2": published.HIFIGAN_V2, "v3": published.HIFIGAN_V3}
# By hand from the layers, and measured with random networks.
LOOK_AHEAD_SAMPLES = {"v1": 3258, "v2": 3258, "v3": 2582}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_names_and_shapes_are_the_official_ones(data_dir, variant):
    layouts = json.loads((data_dir / "state_dict_layouts.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = HifiGan(HifiGanConfig.from_mapping(PUBLISHED[variant])).state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == layouts[f"hifigan_{variant}"]


@pytest.mark.parametrize("name", ["tiny_resblock1", "tiny_resblock2"])
def test_audio_is_that_of_the_official_code(data_dir, name):
    golden = data_dir / "hifigan" / name
    model = get_family("hifigan").load(golden / "generator", None)
    audio = model(torch.from_numpy(np.load(golden / "mel.npy"))).numpy()
    np.testing.assert_allclose(audio, np.load(golden / "audio.npy"), rtol=0, atol=1e-5)


def test_the_shipped_checkpoint_is_a_v2(shipped_checkpoint):
    family = get_family("hifigan")
    model = family.load(shipped_checkpoint, None)
    (graph,) = family.graphs(model)
    assert (model.description.variant, model.description.mel.id) == ("v2", "hifigan-22k")
    assert (graph.role, graph.look_ahead_frames, graph.context_frames) == ("offline", 13, 13)
    assert not model.training
    assert all(not parameter.requires_grad for parameter in model.parameters())
    assert not any(name.endswith(("weight_g", "weight_v")) for name in model.state_dict())


@pytest.mark.parametrize("variant", PUBLISHED)
def test_variants_and_look_ahead_are_computed_from_the_configuration(variant):
    config = HifiGanConfig.from_mapping(PUBLISHED[variant])
    assert config.variant == variant
    assert config.look_ahead_samples == LOOK_AHEAD_SAMPLES[variant]
    assert config.look_ahead_frames == math.ceil(LOOK_AHEAD_SAMPLES[variant] / 256)
    assert (
        HifiGanConfig.from_mapping(
            {**PUBLISHED[variant], "resblock_kernel_sizes": [3, 5, 9]}
        ).look_ahead_samples
        != (LOOK_AHEAD_SAMPLES[variant])
    )


@pytest.mark.parametrize("variant", PUBLISHED)
def test_look_ahead_of_the_published_geometries_is_exact_to_the_sample(variant):
    narrow = HifiGanConfig.from_mapping(
        {**PUBLISHED[variant], "upsample_initial_channel": 16, "num_mels": 1, "fmax": 8000}
    )
    assert reach_of_one_frame(narrow) == (LOOK_AHEAD_SAMPLES[variant], LOOK_AHEAD_SAMPLES[variant])


@st.composite
def hifigan_configs(draw):
    stages = draw(st.integers(1, 3))
    rates = draw(st.lists(st.integers(1, 4), min_size=stages, max_size=stages))
    resblock = draw(st.sampled_from(["1", "2"]))
    dilations = st.lists(
        st.integers(1, 4), min_size=3 if resblock == "1" else 2, max_size=3 if resblock == "1" else 2
    )
    kernels = draw(st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=2))
    return HifiGanConfig.from_mapping(
        {
            **published.HIFIGAN_V1,
            "resblock": resblock,
            "upsample_rates": rates,
            "upsample_kernel_sizes": [rate + 2 * draw(st.integers(0, 3)) for rate in rates],
            "upsample_initial_channel": 2**stages,
            "resblock_kernel_sizes": kernels,
            "resblock_dilation_sizes": [draw(dilations) for _ in kernels],
            "num_mels": 2,
            "hop_size": math.prod(rates),
            # The framing of the official mel needs an even difference.
            "n_fft": 1024 + math.prod(rates) % 2,
        }
    )


@settings(max_examples=40, deadline=None)
@given(config=hifigan_configs())
def test_look_ahead_is_the_exact_reach_of_any_geometry(config):
    assert config.context_samples == config.look_ahead_samples
    assert reach_of_one_frame(config) == (config.look_ahead_samples, config.context_samples)


@st.composite
def variations(draw):
    """Rates and crops of ParallelWaveGAN, odd ones too, those of transformers, causal networks, and every padding."""
    config = draw(hifigan_configs())
    rates = [draw(st.integers(2, 5)) for _ in config.upsample_rates]
    changes = {
        "upsample_rates": rates,
        "upsample_kernel_sizes": [2 * rate for rate in rates],
        "hop_size": math.prod(rates),
        "n_fft": 1024 + math.prod(rates) % 2,
        "padding": draw(st.sampled_from(["zero", "edge", "reflect"])),
    }
    kind = draw(st.sampled_from(["causal", "left", "cut"]))
    if kind == "causal":
        changes.update(causal=True, padding="zero")
    elif kind == "left":
        changes.update(upsample_crops=[[(rate + 1) // 2, rate // 2] for rate in rates])
    else:
        kernels = [rate + draw(st.integers(1, 5)) for rate in rates]
        crops = [[(kernel - rate) // 2] * 2 for rate, kernel in zip(rates, kernels, strict=True)]
        changes.update(upsample_kernel_sizes=kernels, upsample_crops=crops)
    values = {
        name: getattr(config, name) for name in config.__struct_fields__ if name not in ("mel", "source")
    }
    return HifiGanConfig.from_mapping({**values, **changes})


@settings(max_examples=40, deadline=None)
@given(config=variations())
def test_context_and_look_ahead_are_the_exact_reach_of_every_variation(config):
    assert reach_of_one_frame(config) == (config.look_ahead_samples, config.context_samples)
    assert config.look_ahead_samples == 0 or not config.causal


@settings(max_examples=40, deadline=None)
@given(config=st.one_of(hifigan_configs(), variations()), seed=st.integers(0, 2**16))
def test_a_frame_outside_the_context_changes_no_sample(config, seed):
    generator = torch.Generator().manual_seed(seed)
    model = double_model(config)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    before, after = config.context_frames, config.look_ahead_frames
    mel = torch.randn(1, config.num_mels, before + 1 + after + 2, generator=generator, dtype=torch.float64)
    heard = slice((before + 1) * config.hop_size, (before + 2) * config.hop_size)
    changed = mel.clone()
    changed[:, :, 0] += 1.0
    changed[:, :, -1] += 1.0
    with torch.no_grad():
        torch.testing.assert_close(model(changed)[..., heard], model(mel)[..., heard], rtol=0, atol=1e-12)
        if config.causal:
            earlier = slice(0, -config.hop_size)
            assert torch.equal(model(changed[:, :, 1:])[..., earlier], model(mel[:, :, 1:])[..., earlier])


def reach_of_one_frame(config: HifiGanConfig) -> tuple[int, int]:
    """How many samples before and after its own hop one mel frame is heard.

    With positive weights, no biases and a mel of zeros but for one frame, nothing cancels and nothing is rounded
    away: a sample is zero exactly where it does not depend on that frame.
    """
    model = double_model(config)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(0.0 if name.endswith("bias") else 0.05)
    frame = config.look_ahead_frames + 1
    mel = torch.zeros(1, config.num_mels, frame + 2 + config.context_frames, dtype=torch.float64)
    mel[:, :, frame] = 1.0
    with torch.no_grad():
        heard = torch.nonzero(model(mel)[0, 0]).flatten()
    start, end = frame * config.hop_size, (frame + 1) * config.hop_size
    return start - int(heard[0]), int(heard[-1]) + 1 - end


def double_model(config: HifiGanConfig) -> HifiGan:
    model = HifiGan(config).double().requires_grad_(False)
    fold_weight_norm(model)
    return model


BROKEN = {
    "an unknown residual block": ({"resblock": "3"}, "resblock must be '1' or '2', got '3'"),
    "no stage": (
        {"upsample_rates": [], "upsample_kernel_sizes": []},
        "upsample_rates must have a length of at",
    ),
    "a kernel too few": ({"upsample_kernel_sizes": [8]}, "one entry per upsample rate"),
    "a rate of zero": ({"upsample_rates": [0, 4]}, r"upsample_rates\[0\] must be at least 1, got 0"),
    "a kernel that changes the length": ({"upsample_kernel_sizes": [8, 7]}, "even number, got 7"),
    "a kernel below its rate": ({"upsample_kernel_sizes": [2, 8]}, "even number, got 2"),
    "a hop that is not the product": ({"hop_size": 20}, r"the product of upsample_rates \[4, 4\].*got 20"),
    "channels that cannot be halved": ({"upsample_initial_channel": 6}, "divisible by"),
    "no channels": ({"upsample_initial_channel": 0}, "upsample_initial_channel must be at least 1"),
    "no branch": (
        {"resblock_kernel_sizes": [], "resblock_dilation_sizes": []},
        "resblock_kernel_sizes must have a length of at least 1",
    ),
    "a branch without dilations": ({"resblock_dilation_sizes": [[1, 2, 3]]}, "one entry per resblock kernel"),
    "an even kernel": ({"resblock_kernel_sizes": [3, 4]}, "must be odd, got 4"),
    "a branch of no dilation": ({"resblock_dilation_sizes": [[], [1, 3, 5]]}, "length of at least 1"),
    "a key that nobody knows": ({"pqmf_bands": 4}, "may change what is computed, got 'pqmf_bands'"),
    "a dilation of zero": (
        {"resblock_dilation_sizes": [[1, 0, 3], [1, 3, 5]]},
        r"resblock_dilation_sizes\[0\]\[1\] must be at least 1, got 0",
    ),
    "no mel band": ({"num_mels": 0}, "num_mels must be at least 1, got 0"),
    "a window longer than the FFT": ({"win_size": 65}, "win_size must be at most n_fft 64, got 65"),
    "a filter above Nyquist": ({"fmax": 4001}, "nyquist"),
    "an empty mel range": ({"fmin": 4000}, "fmin < fmax"),
    "a fraction for a count": ({"hop_size": 16.0}, r"\$\.hop_size must be an integer, got 16\.0"),
    "a bool for a count": ({"num_mels": True}, "num_mels must be an integer, got True"),
    "text for a list": ({"upsample_rates": "4, 4"}, "upsample_rates must be a list, got '4, 4'"),
    "text in a list": ({"upsample_rates": [4, "4"]}, r"upsample_rates\[1\] must be an integer, got '4'"),
    "flat dilations": (
        {"resblock_dilation_sizes": [1, 3]},
        r"resblock_dilation_sizes\[0\] must be a list, got 1",
    ),
    "a frequency beyond float": ({"fmax": 10**400}, "fmax"),
    "a rate beyond float": ({"sampling_rate": 10**400}, "sampling_rate"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_configuration_that_cannot_work_is_refused(tiny_hifigan_config, change, message):
    with pytest.raises(ModelConfigError, match=message):
        HifiGanConfig.from_mapping({**tiny_hifigan_config, **change})


@pytest.mark.parametrize(
    "key", ["resblock", "upsample_rates", "resblock_dilation_sizes", "num_mels", "sampling_rate", "fmin"]
)
def test_a_missing_key_is_named(tiny_hifigan_config, key):
    del tiny_hifigan_config[key]
    with pytest.raises(ModelConfigError, match=f"key '{key}' is missing"):
        HifiGanConfig.from_mapping(tiny_hifigan_config)


def test_a_misspelled_key_is_named_beside_the_missing_one(tiny_hifigan_config):
    tiny_hifigan_config["upsample_rate"] = tiny_hifigan_config.pop("upsample_rates")
    expected = (
        "key 'upsample_rates' is missing, the nearest key is 'upsample_rate'; is this the configuration of a"
    )
    with pytest.raises(ModelConfigError, match=expected):
        HifiGanConfig.from_mapping(tiny_hifigan_config)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"resblock": ', b"[" * 100_000])
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelConfigError, match=r"config\.json: .*JSON"):
        HifiGanConfig.from_mapping(read_config(partial(read_bounded, path), path.name))


def test_a_configuration_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelConfigError, match="cannot read the configuration"):
        HifiGanConfig.from_mapping(read_config(partial(read_bounded, tmp_path / "none.json"), "none.json"))


def test_training_keys_are_ignored_and_kept_for_the_record(tiny_hifigan_config):
    config = HifiGanConfig.from_mapping({**tiny_hifigan_config, "learning_rate": 0.0002})
    assert config.source["learning_rate"] == 0.0002


@pytest.mark.parametrize(("variant", "kept"), [("v2", True), ("v3", False)])
def test_int8_keeps_the_widest_kernel_of_the_first_stage_float_in_a_narrow_generator(variant, kept):
    config = HifiGanConfig.from_mapping({**PUBLISHED[variant], "num_mels": 1})
    (graph,) = get_family("hifigan").graphs(HifiGan(config))
    assert ("resblocks.2.*" in graph.keep_float["int8"]) == kept
    assert config.resblock_kernel_sizes[2] == max(config.resblock_kernel_sizes)
