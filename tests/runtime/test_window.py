"""Long input: windows give what one pass gives, in bounded memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voirs_vocoder.runtime.config import VocodingConfig
from voirs_vocoder.runtime.drivers.window import synthesize_windows, windows
from voirs_vocoder.runtime.errors import InputError

HOP = 4


class ConvolutionDriver:
    """A driver whose answer is known: a sum over a neighbourhood, zeros outside the utterance, as graphs pad."""

    provider = backend = "test"
    settings = frozenset()

    def __init__(self, context_frames, look_ahead_frames, max_window_frames=10**6):
        self.context_frames = context_frames
        self.look_ahead_frames = look_ahead_frames
        self.max_window_frames = max_window_frames
        self.largest = 0

    def synthesize(self, mel, first_frame, config):
        self.largest = max(self.largest, mel.shape[1])
        padded = np.pad(mel[0], (self.context_frames, self.look_ahead_frames))
        reach = self.context_frames + self.look_ahead_frames + 1
        sums = np.lib.stride_tricks.sliding_window_view(padded, reach) @ np.arange(1.0, reach + 1)
        return np.repeat(sums, HOP).astype(np.float32)

    def close(self):
        pass


class Reader:
    def __init__(self, values):
        self.values = values

    def read(self, start, stop):
        return self.values[:, start:stop]


def joined(driver, values, window_frames):
    return np.concatenate(
        list(synthesize_windows(driver, Reader(values), HOP, VocodingConfig(window_frames=window_frames)))
    )


@given(
    frames=st.integers(1, 60),
    context=st.integers(0, 6),
    look_ahead=st.integers(0, 6),
    spare=st.integers(1, 30),
    seed=st.integers(0, 9),
)
def test_windows_equal_one_pass(frames, context, look_ahead, spare, seed):
    values = np.random.default_rng(seed).normal(size=(2, frames)).astype(np.float32)
    driver = ConvolutionDriver(context, look_ahead)
    whole = driver.synthesize(values, 0, VocodingConfig())
    size = context + look_ahead + spare
    np.testing.assert_array_equal(joined(ConvolutionDriver(context, look_ahead), values, size), whole)


def test_no_window_exceeds_the_budget():
    driver = ConvolutionDriver(3, 2, max_window_frames=20)
    joined(driver, np.ones((2, 500), np.float32), None)
    assert driver.largest == 20


def test_a_budget_below_the_context_takes_the_smallest_window_that_is_exact():
    driver = ConvolutionDriver(3, 2, max_window_frames=1)
    values = np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)
    np.testing.assert_array_equal(
        joined(driver, values, None), ConvolutionDriver(3, 2).synthesize(values, 0, VocodingConfig())
    )
    assert driver.largest == 6


def test_an_explicit_window_below_the_context_is_refused():
    with pytest.raises(InputError, match="use at least 6"):
        joined(ConvolutionDriver(3, 2), np.ones((2, 30), np.float32), 5)


def test_no_frames_are_refused():
    with pytest.raises(InputError, match="at least one frame"):
        joined(ConvolutionDriver(3, 2), np.ones((2, 0), np.float32), None)


def test_an_utterance_that_just_fills_a_window_is_one_window():
    class Counted:
        def read(self, start, stop):
            return np.zeros((3, max(0, min(stop, 20) - start)), np.float32)

    (window,) = windows(Counted(), 4, 4, 20, fixed=True)
    assert (window.start, window.stop, window.at_end, window.values.shape) == (0, 20, True, (3, 20))
    assert len(list(windows(Counted(), 4, 4, 19, fixed=True))) == 2
