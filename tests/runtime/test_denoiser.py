"""The denoiser against torch's STFT over the whole signal, and its independence of how the audio is split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.drivers.denoiser import bias_spectrum, denoised

pytestmark = pytest.mark.numeric


def spectrum(samples):
    window = torch.hann_window(1024, periodic=True, dtype=torch.float64)
    return torch.stft(
        torch.from_numpy(samples.astype(np.float64)), 1024, 256, window=window, return_complex=True
    )


def oracle(samples, bias, strength):
    transformed = spectrum(samples)
    magnitude = (transformed.abs() - strength * bias.abs()[:, None]).clamp(min=0)
    quieter = torch.polar(magnitude, transformed.angle())
    window = torch.hann_window(1024, periodic=True, dtype=torch.float64)
    return torch.istft(quieter, 1024, 256, window=window, length=samples.size).numpy()


@pytest.mark.parametrize("frames", [3, 4, 50])
def test_it_is_the_official_formula_over_the_whole_signal(frames):
    rng = np.random.default_rng(0)
    silence, samples = (rng.normal(0, 0.1, 256 * n).astype(np.float32) for n in (88, frames))
    bias = bias_spectrum(silence)
    np.testing.assert_allclose(bias, spectrum(silence)[:, 0].abs().numpy(), rtol=1e-9)
    got = np.concatenate(list(denoised([samples], bias, 0.3)))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, oracle(samples, spectrum(silence)[:, 0], 0.3), atol=1e-6)


def test_no_strength_changes_nothing():
    samples = np.random.default_rng(0).normal(0, 0.1, 256 * 9).astype(np.float32)
    got = np.concatenate(list(denoised([samples], np.ones(513), 0.0)))
    np.testing.assert_allclose(got, samples, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 12), cuts=st.lists(st.integers(0, 12 * 256), max_size=5))
def test_the_result_does_not_depend_on_the_pieces(frames, cuts):
    samples = np.random.default_rng(frames).normal(0, 0.1, 256 * frames).astype(np.float32)
    bias = np.full(513, 0.5)
    whole = np.concatenate(list(denoised([samples], bias, 1.0)))
    pieces = np.split(samples, sorted(cut for cut in cuts if cut <= samples.size))
    parts = np.concatenate(list(denoised(pieces, bias, 1.0)))
    assert whole.size == samples.size
    np.testing.assert_allclose(parts, whole, atol=1e-6)
