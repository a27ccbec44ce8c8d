"""The official BigVGAN configuration, validated, and what can be computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from voirs_vocoder.reference_models.config import trainer_convention
from voirs_vocoder.reference_models.hifigan.config import TRAINING_KEYS
from voirs_vocoder.reference_models.hifigan.generator import GeneratorConfig
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["ACTIVATION_REACH", "BigVganConfig"]

ACTIVATION_REACH = 5
"""Steps before and after its own that an activation reads: 3 of the filter that doubles the rate, and 5 / 2 of the one
that halves it."""

# Losses and discriminators of train.py at github.com/NVIDIA/BigVGAN, 2.4.1; the volume is that of training audio.
_TRAINING_KEYS = (
    *TRAINING_KEYS,
    "lambda_melloss",
    "use_multiscale_melloss",
    "use_cqtd_instead_of_mrd",
    "cqtd_*",
    "mpd_reshapes",
    "resolutions",
    "use_spectral_norm",
    "freeze_step",
    "normalize_volume",
    "use_cuda_kernel",
)
# (upsample_rates, upsample_initial_channel, activation) of the published variants, configs/*.json.
_VARIANTS: dict[tuple[tuple[int, ...], int, str], str] = {
    ((8, 8, 2, 2), 512, "snakebeta"): "base",
    ((4, 4, 2, 2, 2, 2), 1536, "snakebeta"): "256x",
    ((8, 4, 2, 2, 2, 2), 1536, "snakebeta"): "512x",
}


class BigVganConfig(GeneratorConfig, frozen=True, kw_only=True):
    """A BigVGAN generator and the mel spectrogram that it was trained on.

    The official keys that HiFi-GAN and BigVGAN share are those of `GeneratorConfig`.

    Attributes:
        activation: `snake`, one parameter per channel, or `snakebeta`, which has another one for the magnitude.
        snake_logscale: Whether the parameters of activations are natural logarithms.
        use_tanh_at_final: Whether tanh limits the audio to [-1, 1]; False clips it.
        use_bias_at_final: Whether the last convolution has a bias.
    """

    title: ClassVar[str] = "BigVGAN"
    ignored: ClassVar[tuple[str, ...]] = _TRAINING_KEYS

    activation: Literal["snake", "snakebeta"]
    snake_logscale: bool
    use_tanh_at_final: bool = True
    use_bias_at_final: bool = True

    @property
    def variant(self) -> str:
        """`base`, `256x`, `512x`, or `custom`."""
        key = (self.upsample_rates, self.upsample_initial_channel, self.activation)
        return _VARIANTS.get(key, "custom")

    @property
    def look_ahead_samples(self) -> int:
        """Audio samples to either side of an output sample that it depends on, before rounding to frames.

        Every layer reaches equally far to both sides at its own rate, parallel branches as far as the longest.
        """
        upsampling = [(kernel - rate) // 2 for rate, kernel in self._stages()]
        return self._reach_samples(upsampling) + ACTIVATION_REACH

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up; the context before a frame is as long."""
        return math.ceil(self.look_ahead_samples / self.hop_size)

    def _reach_of(self, kernel: int, dilations: Sequence[int]) -> int:
        # Each convolution has an activation before it.
        convolutions = (2 if self.resblock == "1" else 1) * len(dilations)
        return super()._reach_of(kernel, dilations) + convolutions * ACTIVATION_REACH

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on.

        Source: `meldataset.mel_spectrogram`, github.com/NVIDIA/BigVGAN, 2.4.1.
        """
        return trainer_convention(
            "bigvgan-24k-100band",
            "bigvgan",
            sample_rate=self.sampling_rate,
            n_fft=self.n_fft,
            win_length=self.win_size,
            hop_length=self.hop_size,
            n_mels=self.num_mels,
            f_min_hz=self.fmin,
            f_max_hz=self.f_max_hz,
        )
