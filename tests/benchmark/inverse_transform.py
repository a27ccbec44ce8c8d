"""The inverse Fourier transform that users of Vocos compute outside of the graph, in numpy."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.dsp import hann_window

__all__ = ["InverseTransform"]


class InverseTransform(msgspec.Struct, frozen=True, kw_only=True):
    """From spectra to audio by overlapping windows.

    Attributes:
        n_fft: Size of the transform and length of its Hann window, in samples.
        hop_length: Audio samples between frames.
        first_sample: Sample of the first window that is the first one of the audio.
        least_envelope: Least sum of squared windows that samples are divided by.
    """

    n_fft: int
    hop_length: int
    first_sample: int
    least_envelope: float

    def audio(self, real: NDArray[np.float32], imaginary: NDArray[np.float32]) -> NDArray[np.float32]:
        """Audio of spectra.

        Args:
            real: Real part, float32 [batch, n_fft / 2 + 1, frames].
            imaginary: Imaginary part, of the same shape.

        Returns:
            Float32 [batch, frames * hop_length].
        """
        hop, count = self.hop_length, real.shape[2]
        window = hann_window(self.n_fft, self.n_fft).astype(np.float32)
        spectra = (real + np.complex64(1j) * imaginary).transpose(0, 2, 1)
        frames = np.fft.irfft(spectra, self.n_fft, axis=2).astype(np.float32) * window
        # Part k of every window lies k hops behind its frame.
        parts = -(-self.n_fft // hop)
        length = parts * hop
        frames = np.pad(frames, ((0, 0), (0, 0), (0, length - self.n_fft)))
        squared = np.pad(window**2, (0, length - self.n_fft))
        added = np.zeros((len(real), count + parts, hop), np.float32)
        envelope = np.zeros((count + parts, hop), np.float32)
        for part in range(parts):
            place = slice(part * hop, (part + 1) * hop)
            added[:, part : part + count] += frames[:, :, place]
            envelope[part : part + count] += squared[place]
        kept = slice(self.first_sample, self.first_sample + count * hop)
        least = np.maximum(envelope.reshape(-1)[kept], 0.999 * self.least_envelope)
        return np.divide(added.reshape(len(real), -1)[:, kept], least, dtype=np.float32)
