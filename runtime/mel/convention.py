"""Mel conventions: named sets of parameters. A wrong convention is the most common cause of noise as output."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal

import msgspec

from voirs_vocoder.runtime.errors import InputError

__all__ = ["CONVENTIONS", "MelConvention", "get_convention", "identified"]


_MAX_N_FFT = 1 << 16
_MAX_N_MELS = 1 << 10
_MAX_SAMPLE_RATE = 1 << 24


class MelConvention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the values of a mel spectrogram.

    Attributes:
        id: Name of the convention, unique to its parameters.
        sample_rate: Sample rate of the audio in Hz.
        n_fft: FFT size in samples.
        win_length: Length of the Hann window in samples, centered in the FFT frame.
        hop_length: Samples between frames.
        n_mels: Number of mel bands.
        f_min_hz: Lower edge of the lowest mel filter in Hz.
        f_max_hz: Upper edge of the highest mel filter in Hz, at most half the sample rate.
        framing: Length of the padding at both ends, and number of frames. `hop-aligned`: (n_fft - hop_length) / 2
            samples, samples / hop_length frames. `centered`: n_fft / 2 samples, one frame more, the first centered on
            sample 0.
        padding: Values of the padding: `reflect` mirrors the recording, `zero` is silence. `none`: no padding at all,
            (samples - n_fft) / hop_length + 1 frames; the framing must then be `hop-aligned`.
        window_symmetric: Whether the Hann window is symmetric: its first and last samples are 0. False: it is periodic:
            the sample after its last one would be 0.
        magnitude_epsilon: Number added to the squared magnitude before the square root.
        spectrum: What the filters weight: `magnitude`, or `power`, its square.
        window_energy_normalized: Whether magnitudes are divided by the root of the window's energy.
        mel_scale: Scale on which the filters are equidistant: `slaney` or `htk`.
        mel_norm: Normalization of the filters: `slaney` (unit area per filter) or `none`.
        compression: `ln`: natural logarithm. `log10`: decimal logarithm. `db-unit`: (20 log10 - 20 + 100) / 100,
            limited to [0, 1].
        floor: Number that keeps the logarithm finite.
        floor_mode: `clamp`: mel magnitudes below the floor are raised to it. `add`: the floor is added to all of them.
        scale: Number that the logarithm is multiplied by; negative numbers and 0 are refused.
        offset: Number that is added after the multiplication by `scale`.
        limits: Least and largest value, to which the result is limited; None does not limit it.

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
    padding: Literal["reflect", "zero", "none"] = "reflect"
    window_symmetric: bool = False
    magnitude_epsilon: float = 0.0
    spectrum: Literal["magnitude", "power"] = "magnitude"
    window_energy_normalized: bool = False
    mel_scale: Literal["slaney", "htk"]
    mel_norm: Literal["slaney", "none"]
    compression: Literal["ln", "log10", "db-unit"]
    floor: float
    floor_mode: Literal["clamp", "add"] = "clamp"
    scale: float = 1.0
    offset: float = 0.0
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the relations between the parameters that the computation relies on."""
        sizes = (self.sample_rate, self.n_fft, self.win_length, self.hop_length, self.n_mels)
        lengths = f"n_fft {self.n_fft}, win_length {self.win_length}, hop_length {self.hop_length}"
        if min(sizes) < 1 or self.win_length > self.n_fft or self.hop_length > self.n_fft:
            raise ValueError(
                f"a mel convention needs 1 <= win_length, hop_length <= n_fft, and n_mels and sample_rate of at least "
                f"1, got {lengths}, n_mels {self.n_mels}, sample_rate {self.sample_rate}"
            )
        if self.n_fft > _MAX_N_FFT or self.n_mels > _MAX_N_MELS or self.sample_rate > _MAX_SAMPLE_RATE:
            raise ValueError(
                f"a mel convention needs n_fft <= {_MAX_N_FFT}, n_mels <= {_MAX_N_MELS} and sample_rate <= "
                f"{_MAX_SAMPLE_RATE}, got {self.n_fft}, {self.n_mels} and {self.sample_rate}"
            )
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate / 2:
            raise ValueError(
                f"a mel convention needs 0 <= f_min_hz < f_max_hz <= nyquist, {self.sample_rate / 2:g}, got f_min_hz "
                f"{self.f_min_hz:g}, f_max_hz {self.f_max_hz:g}"
            )
        if not (0 < self.floor < math.inf and 0 <= self.magnitude_epsilon < math.inf):
            raise ValueError(
                f"a mel convention needs floor > 0 and magnitude_epsilon >= 0, got {self.floor:g} and "
                f"{self.magnitude_epsilon:g}"
            )
        if self.padding == "none":
            if self.framing != "hop-aligned":
                raise ValueError(f"padding none needs hop-aligned framing, got {self.framing}")
        elif self.framing == "hop-aligned" and (self.n_fft - self.hop_length) % 2:
            raise ValueError(f"hop-aligned framing needs n_fft - hop_length to be even, got {lengths}")
        self._check_range()

    def _check_range(self) -> None:
        ranged = (self.scale, self.offset, self.limits) != (1.0, 0.0, None)
        got = f"scale {self.scale:g}, offset {self.offset:g}, limits {self.limits}"
        if self.compression == "db-unit" and ranged:
            raise ValueError(f"compression db-unit needs scale 1, offset 0 and no limits, got {got}")
        if not (0 < self.scale < math.inf and math.isfinite(self.offset)):
            raise ValueError(f"a mel convention needs scale > 0 and a finite offset, got {got}")
        if self.limits is not None and not -math.inf < self.limits[0] < self.limits[1] < math.inf:
            raise ValueError(f"a mel convention needs finite limits, the lower one first, got {got}")


# github.com/jik876/hifi-gan at 4769534, meldataset.mel_spectrogram and config_v1.json. DeepLearningExamples' HiFi-GAN,
# UnivNet and BigVGAN's checkpoint of 80 bands to 8 kHz compute the same.
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

# github.com/NVIDIA/tacotron2 at 09bbec0, layers.TacotronSTFT and hparams.py; WaveGlow, ming024's FastSpeech2 and
# SpeechBrain's HiFi-GAN of LJSpeech (torchaudio's spectrogram) take the same mels.
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


def _like(base: MelConvention, convention_id: str, **changes: Any) -> MelConvention:
    return msgspec.structs.replace(base, id=convention_id, **changes)


# parallel_wavegan 0.6.1, bin/preprocess.logmelfilterbank and egs/ljspeech/voc1/conf; ESPnet's text-to-speech and
# transformers' FastSpeech2Conformer take the same mels. The statistics of the training set follow in the graph.
_PARALLEL_WAVEGAN_22K = _like(
    _TACOTRON2_22K, "parallel-wavegan-22k", f_min_hz=80.0, f_max_hz=7600.0, compression="log10", floor=1e-10
)
# coqui-tts 0.28.0, utils/audio/numpy_transforms and config/shared_configs.BaseAudioConfig, as its released HiFi-GAN has
# it: natural logarithm, no range.
_COQUI_22K = _like(_TACOTRON2_22K, "coqui-22k", floor=1e-8)

_ROWS = (
    _HIFIGAN_22K,
    _TACOTRON2_22K,
    _LMNT_DIFFWAVE_22K,
    _PARALLEL_WAVEGAN_22K,
    # parallel_wavegan 0.6.1, egs/libritts/voc1/conf: the recipes of 24 kHz.
    _like(
        _PARALLEL_WAVEGAN_22K,
        "parallel-wavegan-24k",
        sample_rate=24000,
        n_fft=2048,
        win_length=1200,
        hop_length=300,
    ),
    # transformers 5.24.0, SpeechT5FeatureExtractor: 64 ms and 16 ms at 16 kHz.
    _like(_PARALLEL_WAVEGAN_22K, "speecht5-16k", sample_rate=16000),
    # AudioLDM at github.com/haoheliu/AudioLDM, audio/stft.TacotronSTFT; AudioLDM 2 and MusicLDM take the same mels.
    _like(_TACOTRON2_22K, "audioldm-16k", sample_rate=16000, hop_length=160, n_mels=64),
    # speechbrain 1.1.2, HiFi-GAN of LibriTTS at 16 kHz: lobes.models.HifiGAN.mel_spectogram.
    _like(_TACOTRON2_22K, "speechbrain-16k", sample_rate=16000),
    # nemo_toolkit 3.0.0, FilterbankFeatures with exact_pad, and conf/hifigan.
    _like(_HIFIGAN_22K, "nemo-22k", padding="zero", window_symmetric=True, magnitude_epsilon=0.0),
    _like(
        _HIFIGAN_22K,
        "nemo-44k",
        sample_rate=44100,
        n_fft=2048,
        win_length=2048,
        hop_length=512,
        f_max_hz=22050.0,
        padding="zero",
        window_symmetric=True,
        magnitude_epsilon=0.0,
    ),
    _COQUI_22K,
    # Defaults of BaseAudioConfig: decibels above -100, shifted by 20, in [-4, 4]: 8 (20 log10 - 20 + 100) / 100 - 4.
    _like(
        _COQUI_22K,
        "coqui-22k-symmetric",
        f_max_hz=11025.0,
        compression="log10",
        scale=1.6,
        offset=2.4,
        limits=(-4.0, 4.0),
    ),
    # vocos 0.1.0, feature_extractors.MelSpectrogramFeatures (torchaudio's filters) with padding center.
    _like(
        _TACOTRON2_22K,
        "vocos-24k",
        sample_rate=24000,
        n_mels=100,
        f_max_hz=12000.0,
        mel_scale="htk",
        mel_norm="none",
        floor=1e-7,
    ),
    # bigvgan 2.4.1, meldataset.mel_spectrogram and the configurations of the published checkpoints.
    _like(_HIFIGAN_22K, "bigvgan-22k-80band", f_max_hz=11025.0),
    _like(_HIFIGAN_22K, "bigvgan-24k-100band", sample_rate=24000, n_mels=100, f_max_hz=12000.0),
    _like(_HIFIGAN_22K, "bigvgan-44k-128band-256x", sample_rate=44100, n_mels=128, f_max_hz=22050.0),
    _like(
        _HIFIGAN_22K,
        "bigvgan-44k-128band-512x",
        sample_rate=44100,
        n_fft=2048,
        win_length=2048,
        hop_length=512,
        n_mels=128,
        f_max_hz=22050.0,
    ),
)

CONVENTIONS: dict[str, MelConvention] = {convention.id: convention for convention in _ROWS}
"""Published conventions by their id."""


def get_convention(name: str) -> MelConvention:
    """Get a published convention by its name, a key of `CONVENTIONS`.

    Raises:
        InputError: No convention has this name.
    """
    if name not in CONVENTIONS:
        raise InputError(f"unknown mel convention {name!r}; known: {', '.join(sorted(CONVENTIONS))}")
    return CONVENTIONS[name]


def identified(convention: MelConvention, prefix: str) -> MelConvention:
    """Give parameters the id that belongs to them.

    Args:
        convention: Parameters, whose id does not matter.
        prefix: Beginning of the id where no published convention has these parameters, such as `vocos`.

    Returns:
        The published convention of these parameters, or one whose id states the main parameters, and all of them by a
        hash.
    """
    for published in CONVENTIONS.values():
        if msgspec.structs.replace(convention, id=published.id) == published:
            return published
    anonymous = msgspec.structs.replace(convention, id="")
    digest = hashlib.sha256(
        msgspec.json.encode(msgspec.structs.asdict(anonymous), order="sorted")
    ).hexdigest()
    main = f"{convention.sample_rate}hz-{convention.n_mels}x{convention.hop_length}"
    return msgspec.structs.replace(convention, id=f"{prefix}-{main}-{digest[:8]}")
