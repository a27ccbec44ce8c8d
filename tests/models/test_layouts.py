"""Published files of every trainer load as they are and give the trainer's own audio; others are refused by name."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from voirs_vocoder.reference_models import get_family
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.family import load_model
from voirs_vocoder.reference_models.layouts.config_files import config_mapping
from voirs_vocoder.reference_models.layouts.table import LAYOUTS, read_model

ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo"
# The golden audio was computed in another order of sums.
TOLERANCE = 1e-4

GOLDENS = {
    "transformers-speecht5-hifigan/shared": "SpeechT5HifiGan of transformers",
    "transformers-speecht5-hifigan/audioldm-odd-kernel": "SpeechT5HifiGan of transformers",
    "transformers-fastspeech2conformer-hifigan/shared": "FastSpeech2ConformerHifiGan of transformers",
    "parallel-wavegan-hifigan/shared": "HiFi-GAN of ParallelWaveGAN",
    "coqui-hifigan/shared": "HiFi-GAN of Coqui TTS",
    "nemo-hifigan/shared": "HiFi-GAN of NeMo",
    "speechbrain-hifigan/shared": "HiFi-GAN of SpeechBrain",
}


def audio_of(model, folder):
    mel = torch.from_numpy(np.load(folder / "mel.npy"))[None]
    with torch.no_grad():
        return model(mel)[0, 0].numpy(), np.load(folder / "audio.npy")


@pytest.mark.parametrize("place", GOLDENS)
def test_a_folder_as_published_is_recognized_and_gives_the_trainers_audio(place):
    found = read_model(ZOO / place, None)
    model = get_family(found.family).load(ZOO / place, None)
    audio, golden = audio_of(model, ZOO / place)
    hop = model.description.hop_length
    frames = np.load(ZOO / place / "mel.npy").shape[1]
    assert found.layout == model.layout == GOLDENS[place]
    assert audio.shape == (frames * hop,)
    np.testing.assert_allclose(audio, golden[: frames * hop], atol=TOLERANCE)


def test_a_network_that_takes_mels_as_they_are_needs_no_statistics():
    folder = ZOO / "parallel-wavegan-hifigan" / "causal-no-stats"
    model = load_model(get_family("hifigan"), folder, None, normalize=False)
    audio, golden = audio_of(model, folder)
    np.testing.assert_allclose(audio, golden, atol=TOLERANCE)
    assert (model.config.look_ahead_samples, model.normalizes) == (0, False)


def test_missing_statistics_are_never_passed_over():
    folder = ZOO / "parallel-wavegan-hifigan" / "causal-no-stats"
    with pytest.raises(CheckpointError, match=r"stats\.h5 or stats\.npy is missing"):
        read_model(folder, None)


def test_statistics_in_either_format_are_the_same(tmp_path):
    folder = shutil.copytree(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model")
    first = read_model(folder, None).checkpoint.tensors
    np.save(folder / "stats.npy", np.stack([first["mean"].numpy(), first["scale"].numpy()]))
    with pytest.raises(CheckpointError, match="one file of statistics"):
        read_model(folder, None)
    (folder / "stats.h5").unlink()
    second = read_model(folder, None).checkpoint.tensors
    assert torch.equal(first["mean"], second["mean"])
    assert torch.equal(first["scale"], second["scale"])


def test_normalized_mels_without_statistics_are_refused(tmp_path):
    folder = shutil.copytree(ZOO / "transformers-speecht5-hifigan" / "shared", tmp_path / "model")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    del tensors["mean"], tensors["scale"]
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="mean and scale missing"):
        read_model(folder, None)


def test_buffers_of_statistics_are_never_dropped_from_a_renamed_checkpoint(tmp_path, data_dir):
    source = data_dir / "hifigan" / "tiny_resblock1"
    shutil.copy(source / "config.json", tmp_path)
    weights = torch.load(source / "generator", weights_only=True)["generator"]
    torch.save({"generator": {**weights, "mean": torch.zeros(80), "scale": torch.ones(80)}}, tmp_path / "g")
    with pytest.raises(CheckpointError, match=r"2 unexpected: mean, scale"):
        get_family("hifigan").load(tmp_path / "g", None)


def archive(folder, target, *, compress=False, prefix="./"):
    with tarfile.open(target, "w:gz" if compress else "w") as out:
        for path in sorted(folder.iterdir()):
            out.add(path, f"{prefix}{path.name}")
    return target


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_an_archive_of_a_published_folder_is_read_like_the_folder(tmp_path, compress):
    folder = ZOO / "parallel-wavegan-hifigan" / "shared"
    path = archive(folder, tmp_path / "model.tar", compress=compress, prefix="ljspeech_hifigan.v1/")
    model = get_family("hifigan").load(path, None)
    audio, golden = audio_of(model, folder)
    np.testing.assert_allclose(audio, golden, atol=TOLERANCE)


def test_a_gzip_nemo_archive_is_read_like_a_plain_one(tmp_path):
    data = (ZOO / "nemo-hifigan" / "shared" / "model.nemo").read_bytes()
    (tmp_path / "model.nemo").write_bytes(gzip.compress(data))
    assert read_model(tmp_path / "model.nemo", None).layout == "HiFi-GAN of NeMo"


def member(name, data=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def tar_of(path, *members):
    with tarfile.open(path, "w") as out:
        for info, data in members:
            out.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_links_or_devices_is_refused(tmp_path, kind):
    path = tar_of(tmp_path / "a.nemo", member("model_weights.ckpt", kind=kind, link="/etc/passwd"))
    with pytest.raises(CheckpointError, match="no regular file in the archive"):
        read_model(path, None)


def test_an_archive_whose_sizes_lie_is_refused(tmp_path):
    path = tar_of(tmp_path / "a.nemo", member("model_weights.ckpt", b"x" * 2048))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(CheckpointError, match="archive"):
        read_model(path, None)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    (tmp_path / "a.nemo").write_bytes(gzip.compress(b"\0" * (64 << 20)))
    with pytest.raises(CheckpointError, match="would become more than"):
        read_model(tmp_path / "a.nemo", None)


def test_members_of_one_name_in_two_folders_are_refused(tmp_path):
    path = tar_of(tmp_path / "a.tar", member("a/config.yml", b"a: 1"), member("../b/config.yml", b"a: 2"))
    with pytest.raises(CheckpointError, match="several folders of the archive"):
        read_model(path, None)


def test_a_folder_with_two_checkpoints_asks_for_one(tmp_path):
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}steps.pkl").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"one checkpoint must lie there, got checkpoint-1steps\.pkl"):
        read_model(tmp_path, None)


def test_weights_in_several_files_are_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="must be one file"):
        read_model(tmp_path, None)


def saved(folder, config, names, name="config.json"):
    """A folder with a configuration and weights of these names."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(config)
    (folder / name).write_text(text)
    torch.save({each: torch.ones(2, 2) for each in names}, folder / "model.pt")
    return folder


REFUSED = {
    "PriorGrad": (
        {"use_prior": True, "condition_prior": False, "std_min": 0.1},
        ["residual_layers.0.dilated_conv.weight", "residual_layers.0.dilated_conv.bias"],
        "this is PriorGrad.*scaled by each frame's energy",
    ),
    "SpeechBrain DiffWave": (
        {},
        [
            "residual_layers.0.dilated_conv.conv.weight",
            "residual_layers.0.diffusion_projection.w.weight",
        ],
        "DiffWave of SpeechBrain.*by reflection",
    ),
    "philsyn DiffWave": (
        {},
        ["residual_layer.residual_blocks.0.dilated_conv_layer.conv.weight_g"],
        "DiffWave of philsyn",
    ),
    "VITS of transformers": (
        {"architectures": ["VitsModel"]},
        ["decoder.upsampler.0.weight"],
        "VITS of trans",
    ),
    "Piper": ({}, ["model_g.dec.conv_pre.weight", "model_g.enc_p.emb.weight"], "this is Piper"),
    "VITS": ({}, ["dec.conv_pre.weight", "dec.ups.0.weight_g"], "this is VITS"),
    "RVC": ({}, ["dec.m_source.l_linear.weight", "dec.noise_convs.0.weight"], "this is RVC"),
    "NSF-HiFiGAN": (
        {},
        ["m_source.l_linear.weight", "noise_convs.0.weight", "ups.0.bias"],
        "NSF-HiFiGAN.*pitch",
    ),
    "StyleTTS2": ({}, ["decoder.generator.resblocks.0.adain1.0.fc.weight"], "StyleTTS2"),
    "UnivNet": ({"model_type": "univnet"}, ["conv_pre.weight"], "UnivNet of transformers"),
    "UnivNet of maum": ({}, ["res_stack.0.kernel_predictor.input_conv.0.weight"], "this is UnivNet, which"),
    "StyleMelGAN": ({"generator_type": "StyleMelGANGenerator"}, ["a.b"], "StyleMelGAN"),
    "SeamlessM4T": ({"architectures": ["SeamlessM4TCodeHifiGan"]}, ["a.b"], "CodeHifiGAN of transformers"),
    "CodeHifiGAN": ({}, ["ups.0.bias", "dict.weight"], "units, no mel"),
    "MelGAN": ({"generator_type": "MelGANGenerator"}, ["melgan.1.bias"], "this is MelGAN"),
    "MB-MelGAN": (
        {"generator_type": "MelGANGenerator", "generator_params": {"out_channels": 4}},
        ["melgan.1.bias"],
        "multi-band MelGAN",
    ),
    "ParallelWaveGAN": ({"generator_type": "ParallelWaveGANGenerator"}, ["a.b"], "ParallelWaveGAN's WaveNet"),
    "WaveRNN": ({"generator_model": "wavernn"}, ["a.b"], "WaveGrad or WaveRNN"),
    "XTTS": ({}, ["hifigan_decoder.waveform_decoder.conv_pre.weight"], "XTTS of Coqui"),
    "Vocos for EnCodec": ({}, ["backbone.norm.scale.weight"], "tokens of EnCodec"),
    "conditioned Coqui": ({}, ["conv_pre.weight", "cond_layer.weight"], "conditioned HiFi-GAN of Coqui"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_vocoder_that_is_not_ours_is_refused_by_its_name(tmp_path, kind):
    config, names, text = REFUSED[kind]
    folder = saved(tmp_path / "model", config, names)
    for family in (None, "hifigan", "diffwave"):
        with pytest.raises(CheckpointError, match=text):
            read_model(folder, None, family)


def test_what_nobody_knows_is_refused_with_what_is_known(tmp_path):
    folder = saved(tmp_path / "model", {"a": 1}, ["strange.weight"])
    with pytest.raises(CheckpointError, match="known: SpeechT5HifiGan of transformers"):
        read_model(folder, None)


def test_a_layout_of_another_family_says_which():
    with pytest.raises(
        CheckpointError, match="this is HiFi-GAN of NeMo, a checkpoint of the family hifigan, got"
    ):
        read_model(ZOO / "nemo-hifigan" / "shared", None, "waveglow")


def test_names_of_layouts_are_unique():
    names = [row.name for row in LAYOUTS]
    assert len(names) == len(set(names))


def changed_config(folder, target, change):
    shutil.copytree(folder, target)
    name = next(
        name for name in ("config.json", "config.yml", "hyperparams.yaml") if (target / name).exists()
    )
    values = config_mapping((target / name).read_bytes(), name)
    change(values)
    (target / name).write_text(json.dumps(values))
    return target


UNKNOWN_KEYS = {
    "transformers": (
        "transformers-speecht5-hifigan",
        lambda c: c.update(upsample_mode="nearest"),
        "upsample_mode",
    ),
    "coqui network": (
        "coqui-hifigan",
        lambda c: c["generator_model_params"].update(activation="snake"),
        "generator_model_params.*activation",
    ),
    "coqui audio": ("coqui-hifigan", lambda c: c["audio"].update(preemphasis=0.97), "preemphasis must be 0"),
    "coqui statistics": ("coqui-hifigan", lambda c: c["audio"].update(stats_path="s.npy"), "stats_path"),
    "coqui condition": (
        "coqui-hifigan",
        lambda c: c["generator_model_params"].update(cond_channels=8),
        "cond_channels must be 0",
    ),
    "parallel-wavegan": (
        "parallel-wavegan-hifigan",
        lambda c: c["generator_params"].update(use_istft=True),
        "generator_params.*use_istft",
    ),
    "parallel-wavegan activation": (
        "parallel-wavegan-hifigan",
        lambda c: c["generator_params"].update(nonlinear_activation="ReLU"),
        "nonlinear_activation",
    ),
    "parallel-wavegan rate": (
        "parallel-wavegan-hifigan",
        lambda c: c["generator_params"].update(upsample_kernel_sizes=[8, 8, 6]),
        "must be twice its rate 2, got 6",
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN_KEYS)
def test_a_key_that_changes_the_computation_is_refused_by_name(tmp_path, kind):
    layout, change, text = UNKNOWN_KEYS[kind]
    folder = changed_config(ZOO / layout / "shared", tmp_path / "model", change)
    with pytest.raises(ModelConfigError, match=text):
        read_model(folder, None)


def test_the_misspelt_key_of_released_configurations_is_read(tmp_path):
    def misspell(config):
        params = config["generator_params"]
        params["upsample_kernal_sizes"] = params.pop("upsample_kernel_sizes")

    folder = changed_config(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model", misspell)
    assert read_model(folder, None).config["upsample_kernel_sizes"] == [8, 8, 4]


def test_odd_rates_of_parallel_wavegan_crop_one_sample_more_at_the_left(tmp_path):
    def odd(config):
        config["generator_params"].update(upsample_scales=[5, 4, 3], upsample_kernel_sizes=[10, 8, 6])
        config["hop_size"] = 60

    folder = changed_config(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model", odd)
    assert read_model(folder, None).config["upsample_crops"] == [[3, 2], [2, 2], [2, 1]]


YAML = {
    "an alias bomb": (
        b"a: &a [x]\n"
        + b"".join(b"%c: &%c [*%c,*%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20)),
        "may repeat",
    ),
    "many aliases": (b"a: &a 1\nb: [" + b"*a," * 100 + b"]", "64 aliases"),
    "a deep nest": (b"a: " + b"[" * 40 + b"]" * 40, "32 levels"),
    "a circle": (b"a: &a [*a]", "may repeat"),
    "a key twice": (b"a: 1\na: 2", "stands twice"),
    "no mapping": (b"- 1", "must be a YAML mapping, got list"),
    "infinity": (b"a: .inf", "must be finite"),
    "a huge integer": (b"a: 0x" + b"f" * 99, "at most 64 bits"),
    "no YAML": (b"a: [", "not YAML"),
    "half a character": (b'a: "\\ud800"', "whole characters"),
    "half a character as a key": (b'"\\ud800": 1', "whole characters"),
}


@pytest.mark.parametrize("kind", YAML)
def test_a_hostile_yaml_file_is_refused_in_one_line(kind):
    data, text = YAML[kind]
    with pytest.raises(ModelConfigError, match=text) as caught:
        config_mapping(data, "config.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_tags_make_no_objects(tmp_path):
    marker = tmp_path / "executed"
    data = (
        f"a: !!python/object/apply:os.mkdir ['{marker}']\nb: !new:os.mkdir ['{marker}']\nc: !apply:x {{d: 1}}"
    )
    values = config_mapping(data.encode(), "config.yaml")
    assert values == {"a": [str(marker)], "b": [str(marker)], "c": {"d": 1}}
    assert not marker.exists()


def test_references_of_yaml_files_are_resolved_and_circles_left():
    values = config_mapping(b"rate: 5\nx: !ref <rate>\ny: ${rate}\nz: ${none}\nw: !ref <w>", "c.yaml")
    assert {key: values[key] for key in "xyz"} == {"x": 5, "y": 5, "z": "${none}"}


def test_numbers_without_a_point_are_numbers_in_yaml():
    assert config_mapping(b"a: 1e-05", "c.yml") == {"a": 1e-5}


def test_json_may_have_comments_and_a_byte_order_mark():
    data = b'\xef\xbb\xbf{ // rate\n "url": "http://x", /* more */ "sizes": [1, 2,],}'
    assert config_mapping(data, "config.json") == {"url": "http://x", "sizes": [1, 2]}


def test_a_hostile_statistics_file_is_refused(tmp_path):
    folder = shutil.copytree(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model")
    data = (folder / "stats.h5").read_bytes()
    for size in (8, 100, len(data) - 40):
        (folder / "stats.h5").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"stats\.h5"):
            read_model(folder, None)


def test_statistics_in_another_file_are_not_followed(tmp_path):
    h5py = pytest.importorskip("h5py")
    folder = shutil.copytree(ZOO / "parallel-wavegan-hifigan" / "shared", tmp_path / "model")
    shutil.copy(folder / "stats.h5", tmp_path / "other.h5")
    with h5py.File(folder / "stats.h5", "w") as file:
        file["mean"] = h5py.ExternalLink(os.fspath(tmp_path / "other.h5"), "mean")
        file["scale"] = np.ones(20, np.float32)
    with pytest.raises(CheckpointError, match="mean is missing or a link"):
        read_model(folder, None)


def test_a_waveglow_of_deeplearningexamples_brings_its_configuration(tmp_path, data_dir):
    folder = data_dir / "waveglow" / "tiny"
    config = json.loads((data_dir / "waveglow" / "config.json").read_text())
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    state = state.get("model", state)
    torch.save({"state_dict": state, "config": config["waveglow_config"]}, tmp_path / "waveglow.pt")
    found = read_model(tmp_path / "waveglow.pt", None)
    assert found.layout == "WaveGlow of NVIDIA DeepLearningExamples"
    model = get_family("waveglow").load(tmp_path / "waveglow.pt", None)
    assert model.description.mel.id.startswith("tacotron2")
