"""A diffusion model of which everything is known: windows inside each step give what one pass gives."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.artifact.manifest import Diffusion, TensorInfo
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import OPTIONAL_SETTINGS, SessionConfig, VocodingConfig
from voirs_vocoder.runtime.diffusion import NoiseSchedule
from voirs_vocoder.runtime.diffusion.adaptive import adaptive_audio
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.diffusion.stage import Track
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.noise import noise
from voirs_vocoder.runtime.providers.session import bound_by_copying
from voirs_vocoder.runtime.vocoder import Vocoder

pytestmark = pytest.mark.filterwarnings("ignore::voirs_vocoder.runtime.vocoder.MelRangeWarning")

HOP = 16
BEFORE, AFTER = 2, 1
TRAINING = tuple(np.linspace(1e-4, 0.05, 50).tolist())
FAST = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)
CHANNELS = 10


def conditioner_of(mel):
    """[n_mels, frames] -> [n_mels, samples]: a frame and its neighbours, so that context matters."""
    padded = np.pad(mel, ((0, 0), (1, 1)))
    return np.repeat(padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:], HOP, axis=1)


def predicted_noise(x, step, conditioner):
    """[samples] -> [samples], reading as far to both sides as the context allows; zeros outside, as graphs pad."""
    before, after = BEFORE * HOP, AFTER * HOP
    padded = np.pad(x, (before, after))
    far = padded[: len(x)] + 2.0 * padded[before + after :] + 3.0 * x
    return (0.1 * far + 0.001 * step + 0.01 * conditioner.sum(axis=0)).astype(np.float32)


class Conditioner:
    provider = backend = "test"
    max_frames = None
    calls = 0

    def run(self, inputs):
        Conditioner.calls += 1
        return {"conditioner": conditioner_of(inputs["mel"][0])[np.newaxis].astype(np.float32)}

    def close(self):
        pass


class Step:
    provider = backend = "test"
    max_frames = None
    longest = 0

    def run(self, inputs):
        x, conditioner = inputs["noisy_audio"][0, 0], inputs["conditioner"][0]
        assert x.shape[0] == conditioner.shape[1]
        Step.longest = max(Step.longest, x.shape[0])
        return {"predicted_noise": predicted_noise(x, inputs["step"][0], conditioner)[np.newaxis, np.newaxis]}

    def bind(self, inputs, outputs, resident=()):
        return bound_by_copying(self, inputs, outputs)

    def close(self):
        pass


@pytest.fixture(scope="module")
def manifest(tiny_artifact):
    return msgspec.structs.replace(
        Artifact.open(tiny_artifact).manifest,
        family="toy-diffusion",
        driver="diffusion",
        context_frames=BEFORE,
        look_ahead_frames=AFTER,
        diffusion=Diffusion(
            training_betas=TRAINING, fast_betas=FAST, sampler="fast", steps=None, drops_conditioning=False
        ),
    )


@pytest.fixture(scope="module")
def vocoder(manifest):
    return made(manifest)


def made(manifest):
    sessions = {"conditioner": Conditioner(), "step": Step()}
    driver = open_driver(manifest, lambda role: (sessions[role], entry_of(manifest, role)), SessionConfig())
    return Vocoder.from_driver(manifest, "fp32", driver)


def entry_of(manifest, role):
    mel, conditioner, noisy, predicted = (
        TensorInfo(name=name, dtype="float32", shape=("batch", channels, axis))
        for name, channels, axis in (
            ("mel", CHANNELS, "frames"),
            ("conditioner", CHANNELS, "samples"),
            ("noisy_audio", 1, "samples"),
            ("predicted_noise", 1, "samples"),
        )
    )
    step = TensorInfo(name="step", dtype="float32", shape=("batch",))
    inputs, output = {"conditioner": ((mel,), conditioner), "step": ((noisy, step, conditioner), predicted)}[
        role
    ]
    return msgspec.structs.replace(manifest.graphs[0], role=role, inputs=inputs, outputs=(output,))


def one_pass(mel, config, model):
    """The plain loop over the whole utterance."""
    plan = chosen_plan(model, config)
    seed, samples = config.seed or 0, mel.shape[1] * HOP
    conditioner, clean = conditioner_of(mel), None
    x = np.float32(plan.start_scale) * noise(seed, 0, 0, samples)
    for number, step in enumerate(plan.steps):
        eps = predicted_noise(x, step.step, conditioner)
        z = noise(seed, number + 1, 0, samples) if step.d else None
        x, clean = step.apply(x, eps, clean, z), step.clean_estimate(x, eps)
    return x


@pytest.mark.slow
@settings(deadline=None)
@given(
    frames=st.integers(1, 60),
    window_frames=st.integers(BEFORE + AFTER + 1, 40),
    sampler=st.sampled_from(["fast", "ddpm", "ddim", "dpm-solver++"]),
    seed=st.integers(0, 2**64 - 1),
)
def test_windows_inside_each_step_equal_one_pass(vocoder, manifest, frames, window_frames, sampler, seed):
    mel = np.random.default_rng(frames).normal(-5, 2, (CHANNELS, frames)).astype(np.float32)
    config = VocodingConfig(window_frames=window_frames, sampler=sampler, seed=seed)
    audio = vocoder.vocode(mel, config).samples[0]
    np.testing.assert_allclose(audio, one_pass(mel, config, manifest.diffusion), atol=1e-5)


def test_memory_is_bounded_by_the_window_and_not_by_the_utterance(vocoder):
    Step.longest = 0
    vocoder.vocode(np.zeros((CHANNELS, 500), np.float32), VocodingConfig(window_frames=20))
    assert Step.longest <= 20 * HOP


def test_the_conditioner_runs_once_however_many_steps_there_are(vocoder):
    Conditioner.calls = 0
    vocoder.vocode(np.zeros((CHANNELS, 30), np.float32), VocodingConfig(sampler="ddim", steps=20))
    assert Conditioner.calls == 1


def test_the_seed_decides_the_audio(vocoder):
    mel = np.zeros((CHANNELS, 30), np.float32)
    first, again, other = (vocoder.vocode(mel, VocodingConfig(seed=seed)).samples for seed in (0, None, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_guidance_drives_the_prediction_away_from_that_without_a_mel(manifest):
    free = msgspec.structs.replace(manifest.diffusion, drops_conditioning=True)
    vocoder = made(msgspec.structs.replace(manifest, diffusion=free))
    mel = np.random.default_rng(0).normal(-5, 2, (CHANNELS, 12)).astype(np.float32)
    config = VocodingConfig(sampler="ddim", steps=1, guidance=3.0)
    step = chosen_plan(free, config).steps[0]
    x = noise(0, 0, 0, 12 * HOP)
    with_mel, without = (
        predicted_noise(x, step.step, conditioner)
        for conditioner in (conditioner_of(mel), np.zeros((CHANNELS, 12 * HOP)))
    )
    expected = step.apply(x, without + 3.0 * (with_mel - without), None, None)
    np.testing.assert_allclose(vocoder.vocode(mel, config).samples[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"guidance": 2.0}, "also trained without a mel"),
        ({"sampler": "euler"}, "unknown sampler 'euler'; known: fast, ddpm, ddim"),
        ({"sampler": "ddim", "schedule": "warp"}, "unknown schedule 'warp'"),
        ({"steps": 5}, "a schedule of its own, of 6 steps"),
        ({"sampler": "ddim", "steps": 51}, "between 1 and the checkpoint's 50"),
        ({"sampler": "ddpm", "eta": 0.5}, "of the sampler ddim alone"),
        ({"sigma": 0.6}, "sigma means nothing to a toy-diffusion model"),
        ({"window_frames": BEFORE + AFTER}, "use at least 4"),
    ],
)
def test_what_does_not_suit_the_model_is_refused_in_one_line(vocoder, asked, said):
    with pytest.raises(InputError, match=said):
        vocoder.vocode(np.zeros((CHANNELS, 30), np.float32), VocodingConfig(**asked))


def test_no_other_family_takes_a_setting_of_diffusion(tiny_artifact):
    values = {"sampler": "ddim", "schedule": "linear", "betas": (0.1,)}
    with Vocoder.load(tiny_artifact) as vocoder:
        for name in OPTIONAL_SETTINGS:
            config = VocodingConfig(**{name: values.get(name, 1)})
            with pytest.raises(InputError, match=f"{name} means nothing to a hifigan model"):
                vocoder.vocode(np.zeros((CHANNELS, 30), np.float32), config)


def test_an_artifact_without_its_schedule_is_refused(manifest):
    with pytest.raises(ArtifactError, match="state its schedule"):
        made(msgspec.structs.replace(manifest, diffusion=None))


def test_adaptive_sampling_stops_when_the_clean_estimate_has_settled(vocoder, manifest):
    mel = np.random.default_rng(2).normal(-5, 2, (CHANNELS, 30)).astype(np.float32)
    plan = chosen_plan(manifest.diffusion, VocodingConfig(sampler="adaptive", steps=40))
    conditioner = Track()
    conditioner.append(np.zeros((CHANNELS, 480), np.float32))
    told = []

    def settles(x, step, conditioning):
        """A network that is sure of what lies in the noise."""
        told.append(step)
        level = np.interp(step, np.arange(50), NoiseSchedule(TRAINING).alphas_cumulative)
        return ((x - np.sqrt(level) * 0.3) / np.sqrt(1 - level)).astype(np.float32)

    audio, steps = adaptive_audio(plan, settles, conditioner, seed=0, before=32, after=16, most=100)
    assert steps == len(set(told)) == 2
    np.testing.assert_allclose(audio, 0.3, atol=0.01)
    whole, parts = (
        vocoder.vocode(mel, VocodingConfig(sampler="adaptive", window_frames=size)).samples
        for size in (40, 7)
    )
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_adaptive_sampling_refuses_what_it_cannot_hold(vocoder):
    with pytest.raises(InputError, match="at most 4096 frames, this one has more; choose another sampler"):
        vocoder.vocode(np.zeros((CHANNELS, 4097), np.float32), VocodingConfig(sampler="adaptive"))


def test_the_published_schedule_given_by_hand_is_the_fast_sampler(vocoder):
    mel = np.random.default_rng(4).normal(-5, 2, (CHANNELS, 20)).astype(np.float32)
    own, fast = (
        vocoder.vocode(mel, config).samples
        for config in (VocodingConfig(sampler="ddpm", betas=FAST), VocodingConfig(sampler="fast"))
    )
    np.testing.assert_array_equal(own, fast)
