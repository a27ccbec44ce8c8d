"""Speed, pitch and energy: the same whole, from a file, in a batch and in any chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime import InputError, VocodingConfig
from voirs_vocoder.runtime.mel import ArrayMelSource
from voirs_vocoder.runtime.mel.convention import get_convention
from voirs_vocoder.runtime.prosody import Prosody, ProsodyStream

CONVENTION = get_convention("hifigan-22k")
CHANGED = VocodingConfig(speed=1.3, pitch_semitones=3.0, energy_db=-6.0)


def mel(frames, bands=80, seed=0):
    return np.random.default_rng(seed).uniform(-9, 0, (bands, frames)).astype(np.float32)


def pieces(values, sizes):
    start = 0
    for size in (*sizes, values.shape[-1]):
        yield values[..., start : start + size]
        start += size


def test_frames_lie_on_straight_lines_between_frames():
    values = mel(40)
    prosody = Prosody.of(VocodingConfig(speed=0.8), 22_050)
    made = prosody.mel(values)
    assert made.shape[1] == 50
    places = np.clip((np.arange(50) + 0.5) * 0.8 - 0.5, 0, 39)
    expected = [np.interp(places, np.arange(40), band) for band in values]
    np.testing.assert_allclose(made, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    speed=st.floats(0.5, 2.0),
    semitones=st.floats(-12.0, 12.0),
    frames=st.integers(1, 60),
    sizes=st.lists(st.integers(0, 20), max_size=8),
)
def test_chunks_and_files_give_the_frames_of_the_whole(speed, semitones, frames, sizes):
    prosody = Prosody.of(VocodingConfig(speed=speed, pitch_semitones=semitones), 22_050)
    values = mel(frames)
    whole = prosody.mel(values)
    stream = ProsodyStream(prosody, 80)
    chunked = [stream.push(chunk) for chunk in pieces(values, sizes)]
    np.testing.assert_array_equal(np.concatenate([*chunked, stream.finish()], axis=1), whole)
    source = prosody.source(ArrayMelSource(values, CONVENTION))
    middle = source.frames // 2
    read = np.concatenate([source.read(0, middle), source.read(middle, source.frames + 9)], axis=1)
    np.testing.assert_array_equal(read, whole)


def test_an_octave_doubles_the_frequency_and_keeps_the_length():
    prosody = Prosody.of(VocodingConfig(pitch_semitones=12.0), 22_050)
    made = np.sin(2 * np.pi * 441 * np.arange(2 * 22_050) / 22_050).astype(np.float32)
    heard = np.concatenate(list(prosody.audio([made[:1000], made[1000:]])))
    assert heard.size == 22_050
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(heard.size)))
    assert np.argmax(spectrum) == 882
    assert prosody.frames(100) == 200


def test_speed_changes_the_length_alone_and_energy_the_level_alone(vocoder):
    values = mel(60, bands=10)
    plain = vocoder.vocode(values).samples
    assert vocoder.vocode(values, VocodingConfig(speed=2.0)).samples.shape[1] == plain.shape[1] // 2
    higher = vocoder.vocode(values, VocodingConfig(pitch_semitones=5.0)).samples
    assert abs(higher.shape[1] - plain.shape[1]) <= vocoder.metadata.hop_length
    louder = vocoder.vocode(values, VocodingConfig(energy_db=6.0)).samples
    np.testing.assert_allclose(louder, plain * 10 ** (6 / 20), rtol=1e-6)


@pytest.mark.parametrize("sizes", [(), (1, 1, 0, 7), (16, 16), (59,)])
def test_a_stream_equals_the_whole_utterance(vocoder, sizes):
    values = mel(60, bands=10)
    whole = vocoder.vocode(values, CHANGED).samples
    chunks = [audio.samples for audio in vocoder.vocode_stream(pieces(values, sizes), CHANGED)]
    streamed = np.concatenate(chunks, axis=1)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_a_stream_can_begin_again(vocoder):
    values = mel(40, bands=10)
    with vocoder.open_stream(CHANGED) as stream:
        stream.push(mel(13, bands=10, seed=1))
        stream.reset()
        made = [stream.push(values).samples, stream.flush().samples]
    np.testing.assert_allclose(
        np.concatenate(made, axis=1), vocoder.vocode(values, CHANGED).samples, atol=1e-6
    )


def test_in_a_batch_each_utterance_has_its_own(vocoder):
    values = mel(30, bands=10)
    configs = [None, CHANGED, VocodingConfig(speed=0.5)]
    for audio, config in zip(vocoder.vocode_batch([values] * 3, configs), configs, strict=True):
        np.testing.assert_array_equal(audio.samples, vocoder.vocode(values, config).samples)


@pytest.mark.parametrize(
    "setting", [{"speed": 0.4}, {"speed": float("nan")}, {"pitch_semitones": 13.0}, {"energy_db": 30.0}]
)
def test_what_is_out_of_range_is_refused(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        VocodingConfig(**setting)
