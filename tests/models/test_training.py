"""The shared training loop: what it promises whichever family it serves."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from voirs_vocoder.reference_models import ModelConfigError, ReferenceModelError, get_family
from voirs_vocoder.reference_models.training import RECIPES, PlayerSettings, TrainingSettings, get_recipe
from voirs_vocoder.reference_models.training.data import Segments, Utterance, load_speech
from voirs_vocoder.reference_models.training.loop import Run, train
from voirs_vocoder.reference_models.training.mel import TorchMel, pad_ends
from voirs_vocoder.reference_models.training.state import MovingAverage
from voirs_vocoder.runtime import mel_spectrogram
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import CONVENTIONS

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {
    "diffwave": {"residual_layers": 2, "residual_channels": 8, "dilation_cycle_length": 2},
    "diffwave-unet": {"channels": [4, 4, 4, 4], "group_channels": 2, "attention_heads": 2},
    "hifigan": {
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    },
    "vocos": {"dim": 16, "intermediate_dim": 24, "num_layers": 1},
    "waveglow": {},
}


def tiny_recipe(family, **changes):
    recipe = get_recipe(family)
    config = {**recipe.config, **TINY[family]}
    if family == "waveglow":
        coupling = {"n_layers": 2, "n_channels": 8, "kernel_size": 3}
        own = {**config["waveglow_config"], "n_mel_channels": 4, "n_flows": 3, "WN_config": coupling}
        config["waveglow_config"] = own
    changes = {"batch": 2, "segment_frames": 6, "held_back": 1, "warm_up_steps": 2, **changes}
    return dataclasses.replace(
        recipe, config=config, settings=dataclasses.replace(recipe.settings, **changes)
    )


@pytest.fixture(scope="module")
def speech_folder(tmp_path_factory, sample_recordings):
    folder = tmp_path_factory.mktemp("speech")
    for path in sample_recordings:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def without_evaluation(monkeypatch):
    """Quality takes longer than such a training, and has tests of its own."""
    seen = []

    def evaluate(family, weights, config, speech, device):
        seen.append([utterance.name for utterance in speech])
        return {"stoi": 0.5, "pesq_wb": None, "lsd": 1.0}

    monkeypatch.setattr("voirs_vocoder.reference_models.training.loop.evaluate", evaluate)
    return seen


def ticking(step_s=1.0, start=0.0):
    """A clock that says the same in every run."""
    ticks = itertools.count()
    return lambda: start + step_s * next(ticks)


def trained(recipe, data, output, steps, clock=None, **changes):
    reports = []
    run = Run(data, output, hours=1.0, steps=steps, **{"report_steps": 1, **changes})
    train(recipe, run, report=reports.append, clock=clock or ticking())
    return reports


def rows_of(output):
    with (output / "curve.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("family", RECIPES)
def test_what_is_trained_loads_officially_and_has_graphs(family, speech_folder, tmp_path, without_evaluation):
    recipe = tiny_recipe(family)
    trained(recipe, speech_folder, tmp_path, 2)
    loaded = get_family(family).load(tmp_path / "model.safetensors", None)
    assert get_family(family).graphs(loaded)
    assert json.loads((tmp_path / recipe.config_name).read_text()) == recipe.config
    assert {path.name for path in tmp_path.iterdir()} == {
        "curve.csv", "curve.png", "held_back.txt", "model.safetensors", "recipe.json", "state.pt",
        recipe.config_name,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", RECIPES)
def test_stopped_and_resumed_gives_the_very_weights_of_an_uninterrupted_training(
    family, speech_folder, tmp_path, without_evaluation
):
    recipe = tiny_recipe(family)
    trained(recipe, speech_folder, tmp_path / "whole", 4)
    trained(recipe, speech_folder, tmp_path / "parts", 2)
    trained(recipe, speech_folder, tmp_path / "parts", 4)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert rows_of(tmp_path / "whole")[-1] == rows_of(tmp_path / "parts")[-1]


@pytest.mark.slow
@pytest.mark.parametrize("family", RECIPES)
def test_a_training_can_begin_with_the_weights_of_another(
    family, speech_folder, tmp_path, without_evaluation
):
    other = dataclasses.replace(
        tiny_recipe(family), settings=dataclasses.replace(tiny_recipe(family).settings, seed=5)
    )
    trained(other, speech_folder, tmp_path / "first", 2)
    start = tmp_path / "first" / "model.safetensors"
    trained(tiny_recipe(family), speech_folder, tmp_path / "second", 1, start_from=start)
    trained(tiny_recipe(family), speech_folder, tmp_path / "fresh", 1)
    first, second, fresh = (
        load_file(tmp_path / name / "model.safetensors") for name in ("first", "second", "fresh")
    )

    def distance(weights):
        return max(float((weights[name] - first[name]).abs().max()) for name in first)

    assert distance(second) < 0.02 < distance(fresh)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "figure", "steps"),
    [
        ("diffwave", "noise_l1", 150),
        ("diffwave-unet", "stft_log_l1", 60),
        ("hifigan", "mel_l1", 30),
        ("waveglow", "nll", 30),
    ],
)
def test_the_loss_falls(family, figure, steps, speech_folder, tmp_path, without_evaluation):
    players = {
        name: dataclasses.replace(player, learning_rate=4e-3)
        for name, player in get_recipe(family).settings.players.items()
    }
    recipe = tiny_recipe(family, players=players)
    figures = [
        r.figures[figure] for r in trained(recipe, speech_folder, tmp_path, steps) if figure in r.figures
    ]
    assert np.mean(figures[-8:]) < 0.95 * np.mean(figures[:4])


@pytest.mark.slow
def test_pauses_do_not_count_as_training(speech_folder, tmp_path, without_evaluation):
    # A gap of 3000 s after the second step, as of a stopped process.
    times = itertools.chain([0.0, 1.0, 2.0], (3000.0 + second for second in itertools.count()))
    reports = trained(tiny_recipe("diffwave-unet"), speech_folder, tmp_path, 5, clock=lambda: next(times))
    assert reports[-1].spent_s < 20.0


@pytest.mark.slow
def test_the_time_of_an_evaluation_does_not_count_as_training(
    speech_folder, tmp_path, without_evaluation, monkeypatch
):
    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    def slow(*_):
        now[0] += 8.0
        return {"stoi": 0.5, "pesq_wb": 1.0, "lsd": 1.0}

    monkeypatch.setattr("voirs_vocoder.reference_models.training.loop.evaluate", slow)
    recipe = tiny_recipe("diffwave-unet")
    reports = trained(recipe, speech_folder, tmp_path, 4, clock=clock, evaluate_s=1.0)
    assert reports[-1].spent_s == 4.0


@pytest.mark.slow
def test_only_the_recordings_held_back_are_evaluated_and_they_are_never_trained_on(
    speech_folder, tmp_path, without_evaluation
):
    recipe = tiny_recipe("diffwave-unet")
    trained(recipe, speech_folder, tmp_path, 1)
    last = sorted(path.name for path in speech_folder.iterdir())[-1]
    assert without_evaluation == [[last]]
    assert (tmp_path / "held_back.txt").read_text().split() == [last]
    convention = CONVENTIONS["lmnt-diffwave-22k"]
    speech, held_back = load_speech(speech_folder, convention, 1)
    assert [u.name for u in held_back] == [last]
    assert last not in {u.name for u in speech}


@pytest.mark.slow
def test_a_training_whose_held_back_recordings_changed_is_refused(
    speech_folder, tmp_path, without_evaluation
):
    recipe = tiny_recipe("diffwave-unet")
    trained(recipe, speech_folder, tmp_path / "out", 1)
    more = tmp_path / "more"
    shutil.copytree(speech_folder, more)
    first = min(more.iterdir())
    shutil.copy(first, more / "zz.flac")
    with pytest.raises(ReferenceModelError, match="held back other recordings"):
        trained(recipe, more, tmp_path / "out", 2)


def test_a_folder_of_another_recipe_is_refused(speech_folder, tmp_path, without_evaluation):
    trained(tiny_recipe("diffwave-unet"), speech_folder, tmp_path, 1)
    with pytest.raises(ReferenceModelError, match="another recipe"):
        trained(tiny_recipe("diffwave-unet", batch=3), speech_folder, tmp_path, 2)


@pytest.mark.slow
def test_a_damaged_state_is_refused(speech_folder, tmp_path, without_evaluation):
    recipe = tiny_recipe("diffwave-unet")
    trained(recipe, speech_folder, tmp_path, 1)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ReferenceModelError, match="damaged"):
        trained(recipe, speech_folder, tmp_path, 2)


def test_a_loss_that_is_no_number_ends_the_training(speech_folder, tmp_path, without_evaluation):
    recipe = tiny_recipe("diffwave-unet")

    def broken(config):
        task = recipe.task(config)
        with torch.no_grad():
            next(task.model.parameters()).fill_(float("nan"))
        return task

    with pytest.raises(ReferenceModelError, match="step 0"):
        trained(dataclasses.replace(recipe, task=broken), speech_folder, tmp_path, 2)


@pytest.mark.slow
def test_rows_behind_the_last_state_are_dropped(speech_folder, tmp_path, without_evaluation):
    recipe = tiny_recipe("diffwave-unet")
    trained(recipe, speech_folder, tmp_path, 2)
    with (tmp_path / "curve.csv").open("a", encoding="utf-8") as file:
        file.write("7,0.1,0.001,9,9,,,\n")
    trained(recipe, speech_folder, tmp_path, 3)
    assert [row["step"] for row in rows_of(tmp_path)] == ["1", "2", "2", "3", "3"]


def test_the_moving_average_is_that_of_its_formula():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    average = MovingAverage(layer, 0.5)
    expected = 1.0
    for step in range(20):
        torch.nn.init.constant_(layer.weight, float(step))
        average.update(layer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.tensors["weight"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("decay", "half"), [("linear", 0.505), ("cosine", 0.505)])
def test_the_learning_rate_follows_the_time(decay, half):
    players = {"model": PlayerSettings(learning_rate=1.0, final_learning_rate=0.01, clip_norm=1.0)}
    settings = TrainingSettings(batch=1, segment_frames=1, players=players, decay=decay, warm_up_steps=10)
    rates = [settings.learning_rate_factor("model", step, 0.0) for step in (0, 4, 9, 100)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert settings.learning_rate_factor("model", 100, 0.5) == pytest.approx(half)
    assert settings.learning_rate_factor("model", 100, 1.0) == pytest.approx(0.01)
    assert settings.learning_rate_factor("model", 100, 2.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"segment_frames": 0},
        {"held_back": 0},
        {"players": {}},
        {"decay": "step"},
        {"ema_decay": 1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ModelConfigError):
        dataclasses.replace(get_recipe("diffwave").settings, **changes)


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_the_mel_in_torch_is_that_of_the_runtime(name, sample_recordings):
    import soundfile

    convention = CONVENTIONS[name]
    audio, _ = soundfile.read(sample_recordings[0], dtype="float32")
    padded = pad_ends(torch.from_numpy(audio)[None, None], convention)
    ours = TorchMel(convention)(padded[:, 0])[0].numpy()
    expected = mel_spectrogram(audio, convention.sample_rate, convention).values
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() < 2e-3


@pytest.mark.parametrize("family", RECIPES)
def test_a_segment_has_the_mel_of_its_place_in_the_recording(family, speech_folder):
    recipe = tiny_recipe(family, low_gain=1.0, high_gain=1.0, batch=3)
    convention = recipe.task(recipe.config).model.description.mel
    speech, _ = load_speech(speech_folder, convention, 1)
    batch = Segments(speech[:1], convention, recipe.settings).batch(0)
    whole = mel_spectrogram(speech[0].samples, convention.sample_rate, convention).values
    for audio, mel in zip(batch.audio[:, 0].numpy(), batch.mel.numpy(), strict=True):
        places = range(0, speech[0].samples.size - audio.size, convention.hop_length)
        (start,) = [n for n in places if np.abs(speech[0].samples[n : n + audio.size] - audio).max() < 1e-4]
        frame = start // convention.hop_length
        assert np.abs(whole[:, frame : frame + mel.shape[1]] - mel).max() < 5e-3


def test_segments_depend_on_seed_and_step_alone_and_stay_in_range(speech_folder):
    convention = CONVENTIONS["hifigan-22k"]
    settings = dataclasses.replace(get_recipe("hifigan").settings, high_gain=50.0)
    speech, _ = load_speech(speech_folder, convention, 1)
    first, second = (Segments(speech, convention, settings) for _ in range(2))
    second.batch(3)
    assert torch.equal(first.batch(7).audio, second.batch(7).audio)
    assert not torch.equal(first.batch(7).audio, first.batch(8).audio)
    assert float(first.batch(7).audio.abs().max()) <= 1.0


def test_pauses_are_no_segments():
    convention = CONVENTIONS["hifigan-22k"]
    settings = dataclasses.replace(get_recipe("hifigan").settings, segment_frames=4, batch=64)
    samples = np.zeros(40 * 256, np.float32)
    samples[20 * 256 : 24 * 256] = 0.5
    batch = Segments([Utterance("half", samples)], convention, settings).batch(0)
    assert (batch.audio.abs().amax(dim=(1, 2)) > 0.2).all()


def test_silence_alone_is_refused():
    convention = CONVENTIONS["hifigan-22k"]
    with pytest.raises(InputError, match="no recording"):
        Segments(
            [Utterance("silence", np.zeros(22050, np.float32))], convention, get_recipe("hifigan").settings
        )


def test_too_few_recordings_are_refused(speech_folder, tmp_path):
    with pytest.raises(InputError, match="held back"):
        load_speech(speech_folder, CONVENTIONS["hifigan-22k"], 3)
    with pytest.raises(InputError, match="no such folder"):
        load_speech(tmp_path / "nowhere", CONVENTIONS["hifigan-22k"], 3)


@pytest.mark.parametrize("family", RECIPES)
def test_a_recipe_makes_a_model_of_at_most_4_mb(family):
    recipe = get_recipe(family)
    model = recipe.task(recipe.config).model
    item_bytes = 2 if recipe.half_weights else 4
    assert sum(tensor.numel() for tensor in model.state_dict().values()) * item_bytes < 4_000_000


def test_an_unknown_family_has_no_recipe():
    with pytest.raises(ReferenceModelError, match="no recipe"):
        get_recipe("wavenet")


@pytest.mark.slow
def test_the_command_helps_without_torch_and_says_what_is_wrong_in_one_line(tmp_path):
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'safetensors', 'matplotlib')))\n"
    module = "voirs_vocoder.reference_models.training"
    call = f"import runpy; sys.argv[1:] = {{}}; runpy.run_module({module!r}, run_name='__main__')"
    helped = subprocess.run(
        [sys.executable, "-c", blocked + call.format(["--help"])], capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    assert "FAMILY" in helped.stdout
    arguments = [
        "waveglow",
        "--data",
        str(tmp_path / "none"),
        "--output",
        str(tmp_path / "o"),
        "--hours",
        "1",
    ]
    failed = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert failed.stderr.startswith("error:")
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_torch_is_imported_ends_the_command_with_its_status(number, tmp_path):
    code = f"""
import os, runpy, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["hifigan", "--data", {str(tmp_path)!r}, "--output", {str(tmp_path / "o")!r}, "--hours", "1"]
runpy.run_module("voirs_vocoder.reference_models.training", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("family", RECIPES)
def test_a_published_size_keeps_its_official_configuration(family):
    recipe = get_recipe(family)
    for name, preset in recipe.presets.items():
        assert get_recipe(family, name).config == preset.config
        assert get_recipe(family, name).config != recipe.config or name == "v2"


def test_a_preset_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ReferenceModelError, match=r"preset of hifigan must be one of v1, v2, v3, got 'v4'"):
        get_recipe("hifigan", "v4")


@pytest.mark.parametrize("device", ["tpu0", "mps", "cuda:9"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(device, tmp_path):
    with pytest.raises(ReferenceModelError, match=f"device must be .*{device}"):
        Run(tmp_path, tmp_path, hours=1.0, device=device)


def test_segments_are_cut_and_scaled_as_numpy_cuts_them(speech_folder):
    recipe = tiny_recipe("hifigan")
    convention = recipe.task(recipe.config).model.description.mel
    speech, _ = load_speech(speech_folder, convention, 1)
    settings = dataclasses.replace(recipe.settings, batch=16, high_gain=50.0)
    batch = Segments(speech, convention, settings).batch(3)
    random = np.random.default_rng((settings.seed, 3))
    count = settings.segment_frames * convention.hop_length
    starts = [
        (utterance.samples, frame)
        for utterance in speech
        for frame in range(utterance.samples.size // convention.hop_length - settings.segment_frames + 1)
        if np.mean(np.square(utterance.samples[frame * convention.hop_length :][:count], dtype=np.float64))
        > 10.0**-5.0
    ]
    places = random.integers(len(starts), size=settings.batch)
    for row, place in enumerate(places):
        samples, frame = starts[place]
        own = samples[frame * convention.hop_length :][:count]
        gain = random.uniform(settings.low_gain, settings.high_gain)
        factor = np.float32(min(gain, 1.0 / float(np.abs(own).max())))
        np.testing.assert_array_equal(batch.audio[row, 0].numpy(), factor * own)
