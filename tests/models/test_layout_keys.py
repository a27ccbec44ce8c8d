"""No key of a published configuration is passed over: each changes the model or its mel, is refused, or is listed."""

from __future__ import annotations

import copy
import json
import shutil
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest

from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.layouts.config_files import config_mapping
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.reference_models.vocos.config import VocosConfig
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig

DATA = Path(__file__).resolve().parents[1] / "data"
ZOO = DATA / "zoo"
FAMILIES = {
    "hifigan": HifiGanConfig,
    "bigvgan": BigVganConfig,
    "vocos": VocosConfig,
    "waveglow": WaveGlowConfig,
    "diffwave": DiffWaveConfig,
}
CONFIG_NAMES = (
    "config.json",
    "config.yml",
    "config.yaml",
    "hyperparams.yaml",
    "model_config.yaml",
    "params.json",
)
# Checkpoint folders, or files beside or below their configuration.
PLACES = {
    "hifigan": (DATA / "hifigan" / "tiny_resblock1" / "config.json", "hifigan/tiny_resblock1/generator"),
    "waveglow": (DATA / "waveglow" / "config.json", "waveglow/tiny/state_dict.pt"),
    "diffwave": (DATA / "diffwave" / "tiny" / "params.json", "diffwave/tiny/weights.pt"),
    **{path.parent.relative_to(ZOO).as_posix(): None for path in sorted(ZOO.glob("*/*/mel.npy"))},
}
TRAINING = (
    "num_gpus",
    "batch_size",
    "learning_rate",
    "adam_*",
    "lr_decay",
    "seed",
    "segment_size",
    "fmax_for_loss",
    "num_workers",
    "dist_config*",
)
TRANSFORMERS = ("architectures*", "*dtype", "initializer_range", "transformers_version")
# What changes neither the network nor its mel, by the code of each trainer.
WITHOUT_EFFECT = {
    # The official code never reads num_freq.
    "hifigan": (*TRAINING, "num_freq"),
    "bigvgan": (*TRAINING, "num_freq"),
    "diffwave": (*TRAINING, "max_grad_norm", "crop_mel_frames", "audio_len"),
    "waveglow": ("train_config*", "dist_config*"),
    # Times count where the numbers of samples are null; the rest is for Griffin-Lim and the loading of recordings.
    "coqui-hifigan": (
        "model",
        "run_name",
        "discriminator_model",
        "audio.frame_*_ms",
        "audio.resample",
        "audio.do_trim_silence",
        "audio.trim_db",
        "audio.power",
        "audio.griffin_lim_iters",
        "audio.do_amp_to_db_linear",
    ),
    # The generator's own target suffices; sample_rate stands for the references to it, which are resolved here. Of the
    # version, only the numbers count.
    "nemo-hifigan": (
        "target",
        "max_steps",
        "nemo_version",
        "sample_rate",
        "preprocessor.dither",
        "preprocessor.pad_*",
    ),
    # References to the generator, its use in `inference`, and the energy of another model.
    "speechbrain-hifigan": ("modules*", "pretrainer*", "*inference_padding", "min_max_energy_norm"),
    "parallel-wavegan-hifigan": ("format", "version", "generator_params.use_weight_norm"),
    # Architecture and type are known by either.
    "transformers-speecht5-hifigan": (*TRANSFORMERS, "model_type"),
    "transformers-fastspeech2conformer-hifigan": TRANSFORMERS,
}


def folder_of(place: str, target: Path) -> Path:
    """A copy of the files without the golden vectors, and the configuration as JSON."""
    target.mkdir()
    if PLACES[place] is None:
        for path in (ZOO / place).iterdir():
            if path.suffix == ".nemo":
                with tarfile.open(path) as archive:
                    archive.extractall(target, filter="data")
            elif path.suffix != ".npy":
                shutil.copy(path, target)
    else:
        config, weights = PLACES[place]
        shutil.copy(config, target)
        shutil.copy(DATA / weights, target / "g_00000000")
    return target


def leaves(values: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(values, dict):
        for key, each in values.items():
            yield from leaves(each, (*place, key))
    elif isinstance(values, list) and values:
        yield from leaves(values[0], (*place, 0))
    else:
        yield place


def others(value: object) -> list[object]:
    """Other values of the same type, or of any type in place of null."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value or 3]
    if isinstance(value, float):
        return [2 * value + 0.05, value + 1]
    return [f"{value}X"] if isinstance(value, str) else [1, 0.5, True, "x"]


def with_value(values: object, place: tuple[str | int, ...], value: object) -> object:
    changed = copy.deepcopy(values)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def outcome(folder: Path, place: str) -> str:
    """The family's configuration with its mel, or that it was refused by one line."""
    try:
        read = read_model(folder, None, normalize=not place.endswith("no-stats"))
        config = read.family_config(FAMILIES[read.family])
        mel = config.mel_convention()
    except ReferenceModelError as error:
        assert "\n" not in str(error)
        return "refused"
    fields = {name: getattr(config, name) for name in config.__struct_fields__ if name != "source"}
    return repr((read.family, read.layout, fields, msgspec.to_builtins(mel), sorted(read.checkpoint.tensors)))


@pytest.mark.parametrize("place", PLACES)
def test_another_value_of_any_key_changes_the_model_or_is_refused(place, tmp_path):
    folder = folder_of(place, tmp_path / "model")
    (name,) = (name for name in CONFIG_NAMES if (folder / name).exists())
    published = config_mapping((folder / name).read_bytes(), name)
    original = outcome(folder, place)
    assert original != "refused"
    without_effect = WITHOUT_EFFECT.get(place.partition("/")[0], ())
    passed_over = set()
    for key in leaves(published):
        path = ".".join(map(str, key))
        if any(fnmatchcase(path, pattern) for pattern in without_effect):
            continue
        value = published
        for part in key:
            value = value[part]
        for other in others(value):
            (folder / name).write_text(json.dumps(with_value(published, key, other)))
            if outcome(folder, place) == original:
                passed_over.add(path)
    assert passed_over == set()


# (layout, place of a key, its value or ... where it is left out) to what the refusal says.
REFUSED = {
    ("nemo-hifigan", "preprocessor.preemph", ...): "preemph must be null.*got 0.97",
    ("nemo-hifigan", "preprocessor.normalize", ...): "normalize must be null.*got 'per_feature'",
    ("nemo-hifigan", "preprocessor.nfilt", ...): "initial_input_size must be preprocessor.nfilt, 64, got 20",
    ("nemo-hifigan", "preprocessor.frame_splicing", 2): "frame_splicing",
    ("nemo-hifigan", "preprocessor.features", 20): "features",
    (
        "nemo-hifigan",
        "preprocessor._target_",
        "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
    ): r"preprocessor\._target_ must be features\.FilterbankFeatures",
    ("nemo-hifigan", "nemo_version", "latest"): "nemo_version must begin with two numbers, got 'latest'",
    ("parallel-wavegan-hifigan", "sampling_rate_for_feats", 16000): "must be sampling_rate 22050.*got 16000",
    ("parallel-wavegan-hifigan", "use_global_condition", True): "the mel must be the only input",
    ("parallel-wavegan-hifigan", "use_local_condition", True): "the mel must be the only input",
    (
        "parallel-wavegan-hifigan",
        "pqmf_params",
        "taps",
    ): "may change what is computed, got 'pqmf_params'",
    ("parallel-wavegan-hifigan", "generator_params.in_channels", 40): "in_channels must be num_mels 20",
    ("coqui-hifigan", "audio.num_freq", 257): "num_freq must be 513, the bins of fft_size 1024, got 257",
    ("coqui-hifigan", "audio.hop_length", None): "frame_length_ms must be a multiple of frame_shift_ms",
    (
        "speechbrain-hifigan",
        "generator.conv_post_bias",
        False,
    ): "conv_post_bias must be generator.conv_post_bias",
    (
        "speechbrain-hifigan",
        "generator.vocab_size",
        100,
    ): "generator.*may change what is computed, got 'vocab_size'",
    ("transformers-speecht5-hifigan", "sampling_rate", None): "sampling_rate must be a number of Hz",
}


def rewritten(folder: Path, key: str, value: object) -> None:
    """Write the configuration with one key changed; ... leaves it out."""
    (name,) = (name for name in CONFIG_NAMES if (folder / name).exists())
    values = config_mapping((folder / name).read_bytes(), name)
    *sections, last = key.split(".")
    inner = values
    for section in sections:
        inner = inner[section]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    (folder / name).write_text(json.dumps(values))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}:{case[1]}")
def test_what_a_trainer_would_compute_otherwise_is_refused_by_name(case, tmp_path):
    layout, key, value = case
    folder = folder_of(f"{layout}/shared", tmp_path / "model")
    rewritten(folder, key, value)
    with pytest.raises(ReferenceModelError, match=REFUSED[case]):
        read_model(folder, None).family_config(HifiGanConfig)


def test_times_of_coqui_become_samples_as_its_code_rounds_them(tmp_path):
    """At 22050 Hz, 12.5 ms are a quarter of the window's 1102 samples: 275, where rounding alone would give 276."""
    folder = folder_of("coqui-hifigan/shared", tmp_path / "model")
    for key, value in (
        ("hop_length", None),
        ("frame_length_ms", 50),
        ("frame_shift_ms", 12.5),
        ("fft_size", 2048),
    ):
        rewritten(folder, f"audio.{key}", value)
    config = read_model(folder, None).config
    assert (config["win_size"], config["hop_size"]) == (1102, 275)


@pytest.mark.parametrize(
    ("version", "padding"),
    [
        ("1.0.0rc1", "reflect"),
        ("2.4.0", "reflect"),
        (..., "reflect"),
        ("2.5.0rc0", "zero"),
        ("3.0.0", "zero"),
    ],
)
@pytest.mark.parametrize("exact_pad", [True, False])
def test_the_version_of_nemo_decides_the_padding_of_recordings(version, padding, exact_pad, tmp_path):
    folder = folder_of("nemo-hifigan/shared", tmp_path / "model")
    rewritten(folder, "nemo_version", version)
    rewritten(folder, "preprocessor.exact_pad", exact_pad)
    mel = read_model(folder, None).family_config(HifiGanConfig).mel_convention()
    assert mel.padding == padding


def test_an_epsilon_of_nemo_is_part_of_the_mel(tmp_path):
    folder = folder_of("nemo-hifigan/shared", tmp_path / "model")
    rewritten(folder, "preprocessor.use_grads", True)
    rewritten(folder, "preprocessor.mag_power", ...)
    mel = read_model(folder, None).family_config(HifiGanConfig).mel_convention()
    assert (mel.magnitude_epsilon, mel.spectrum) == (1e-5, "power")


def test_a_generator_of_speechbrain_needs_no_keys_outside_its_section(tmp_path):
    folder = folder_of("speechbrain-hifigan/shared", tmp_path / "model")
    expected = read_model(folder, None).config
    for key in ("in_channels", "upsample_factors", "resblock_type", "conv_post_bias"):
        rewritten(folder, key, ...)
    assert read_model(folder, None).config == expected
    rewritten(folder, "upsample_factors", [4, 4, 2])
    rewritten(folder, "generator", ...)
    with pytest.raises(ReferenceModelError, match="'in_channels' is missing"):
        read_model(folder, None)
