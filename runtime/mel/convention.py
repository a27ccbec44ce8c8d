"""Mel conventions: named sets of parameters. A wrong convention is the most common cause of noise as output."""

from __future__ import annotations

from typing import Literal

import msgspec

from voirs_vocoder.runtime.errors import InputError

__all__ = ["CONVENTIONS", "MelConvention", "get_convention"]


_MAX_N_FFT = 1 << 16
_MAX_N_MELS = 1 << 10
_MAX_SAMPLE_RATE = 1 << 24


class MelConvention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the values of a mel spectrogram.

    Attributes:
        id: Name of the convention, unique to its parameters.
        sample_rate: Sample rate of the audio in Hz.
        n_fft: FFT size in samples.
        win_length: Length of the periodic Hann window in samples, centered in the FFT frame.
        hop_length: Samples between frames.
        n_mels: Number of mel bands.
        f_min_hz: Lower edge of the lowest mel filter in Hz.
        f_max_hz: Upper edge of the highest mel filter in Hz, at most half the sample rate.
        framing: Padding and number of frames. `hop-aligned`: reflect padding of (n_fft - hop_length) / 2,
            samples / hop_length frames. `centered`: reflect padding of n_fft / 2, one frame more, the first centered on
            sample 0.
        magnitude_epsilon: Number added to the squared magnitude before the square root.
        window_energy_normalized: Whether magnitudes are divided by the root of the window's energy.
        mel_scale: Scale on which the filters are equidistant: `slaney` or `htk`.
        mel_norm: Normalization of the filters: `slaney` (unit area per filter) or `none`.
        compression: `ln`: natural logarithm. `db-unit`: (20 log10 - 20 + 100) / 100, limited to [0, 1].
        floor: Least mel magnitude; smaller ones are raised to it before the logarithm.

    Raises:
        ValueError: The parameters contradict each other.
    """

    id: str
    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    n_mels: int
    f_min_hz: float
    f_max_hz: float
    framing: Literal["hop-aligned", "centered"]
    magnitude_epsilon: float = 0.0
    window_energy_normalized: bool = False
    mel_scale: Literal["slaney", "htk"]
    mel_norm: Literal["slaney", "none"]
    compression: Literal["ln", "db-unit"]
    floor: float

    def __post_init__(self) -> None:
        """Check the relations between the parameters that the computation relies on."""
        sizes = (self.sample_rate, self.n_fft, self.win_length, self.hop_length, self.n_mels)
        if min(sizes) < 1 or self.win_length > self.n_fft or self.hop_length > self.n_fft:
            raise ValueError(f"a mel convention needs 1 <= win_length, hop_length <= n_fft, got {self!r}")
        if self.n_fft > _MAX_N_FFT or self.n_mels > _MAX_N_MELS or self.sample_rate > _MAX_SAMPLE_RATE:
            raise ValueError(
                f"a mel convention needs n_fft <= {_MAX_N_FFT}, n_mels <= {_MAX_N_MELS} and sample_rate <= "
                f"{_MAX_SAMPLE_RATE}, got {self!r}"
            )
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate / 2:
            raise ValueError(f"a mel convention needs 0 <= f_min_hz < f_max_hz <= nyquist, got {self!r}")
        if self.floor <= 0 or self.magnitude_epsilon < 0:
            raise ValueError(f"a mel convention needs floor > 0 and magnitude_epsilon >= 0, got {self!r}")
        if self.framing == "hop-aligned" and (self.n_fft - self.hop_length) % 2:
            raise ValueError(f"hop-aligned framing needs n_fft - hop_length to be even, got {self!r}")


# github.com/jik876/hifi-gan at 4769534, meldataset.mel_spectrogram and config_v1.json.
_HIFIGAN_22K = MelConvention(
    id="hifigan-22k",
    sample_rate=22050,
    n_fft=1024,
    win_length=1024,
    hop_length=256,
    n_mels=80,
    f_min_hz=0.0,
    f_max_hz=8000.0,
    framing="hop-aligned",
    magnitude_epsilon=1e-9,
    mel_scale="slaney",
    mel_norm="slaney",
    compression="ln",
    floor=1e-5,
)

# github.com/NVIDIA/tacotron2 at 09bbec0, layers.TacotronSTFT and hparams.py; WaveGlow takes the same mels.
_TACOTRON2_22K = MelConvention(
    id="tacotron2-22k",
    sample_rate=22050,
    n_fft=1024,
    win_length=1024,
    hop_length=256,
    n_mels=80,
    f_min_hz=0.0,
    f_max_hz=8000.0,
    framing="centered",
    mel_scale="slaney",
    mel_norm="slaney",
    compression="ln",
    floor=1e-5,
)

# github.com/lmnt-com/diffwave at 0594106, preprocess.transform: torchaudio's filters and normalization.
_LMNT_DIFFWAVE_22K = MelConvention(
    id="lmnt-diffwave-22k",
    sample_rate=22050,
    n_fft=1024,
    win_length=1024,
    hop_length=256,
    n_mels=80,
    f_min_hz=20.0,
    f_max_hz=11025.0,
    framing="centered",
    window_energy_normalized=True,
    mel_scale="htk",
    mel_norm="none",
    compression="db-unit",
    floor=1e-5,
)

CONVENTIONS: dict[str, MelConvention] = {
    convention.id: convention for convention in (_HIFIGAN_22K, _LMNT_DIFFWAVE_22K, _TACOTRON2_22K)
}


def get_convention(name: str) -> MelConvention:
    """Get a published convention by its name, a key of `CONVENTIONS`.

    Raises:
        InputError: No convention has this name.
    """
    if name not in CONVENTIONS:
        raise InputError(f"unknown mel convention {name!r}; known: {', '.join(sorted(CONVENTIONS))}")
    return CONVENTIONS[name]
