"""HiFi-GANs of Coqui TTS: model_file.pth or best_model.pth with the config.json of the training."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    normalized_range,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.layouts.hifigan_keys import hifigan_keys
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, section
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["CoquiHifiGanLayout"]

_GENERATOR = "hifigan_generator"


class _GeneratorKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `generator_model_params`: the network.

    Attributes:
        upsample_factors: Stride of each transposed convolution.
        upsample_kernel_sizes: Kernel size of each transposed convolution.
        upsample_initial_channel: Channels after the first convolution.
        resblock_kernel_sizes: Kernel size of each parallel branch.
        resblock_dilation_sizes: Dilations of each parallel branch.
        resblock_type: `1` for pairs of convolutions, `2` for single ones.
        conv_post_bias: Whether the last convolution has a bias.
        cond_channels: Channels of a condition; must be 0.
    """

    title: ClassVar[str] = "HiFi-GAN of Coqui TTS"
    # Extra frames at both ends, which the library's own synthesizer adds around the network.
    ignored: ClassVar[tuple[str, ...]] = (
        "inference_padding",
        "conv_pre_weight_norm",
        "conv_post_weight_norm",
    )

    upsample_factors: tuple[Count, ...]
    upsample_kernel_sizes: tuple[Count, ...]
    upsample_initial_channel: Count
    resblock_kernel_sizes: tuple[Count, ...]
    resblock_dilation_sizes: tuple[tuple[Count, ...], ...]
    resblock_type: Literal["1", "2"]
    conv_post_bias: bool = True
    cond_channels: int = 0
    cond_in_each_up_layer: bool = False
    pre_linear: int | None = None

    def __post_init__(self) -> None:
        """Refuse conditions."""
        require(
            self.cond_channels == 0,
            "a vocoder takes no condition: cond_channels must be 0",
            self.cond_channels,
        )
        require(
            not self.cond_in_each_up_layer, "cond_in_each_up_layer must be false", self.cond_in_each_up_layer
        )
        require(not self.pre_linear, "pre_linear must be null", self.pre_linear)


class _AudioKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `audio`: the mel spectrogram, with the defaults of BaseAudioConfig in coqui-tts 0.28.0."""

    title: ClassVar[str] = "Coqui TTS audio section"
    # What concerns linear spectrograms, Griffin-Lim, trimming of silence and the pitch alone.
    ignored: ClassVar[tuple[str, ...]] = (
        "resample",
        "do_trim_silence",
        "trim_db",
        "do_rms_norm",
        "db_level",
        "power",
        "griffin_lim_iters",
        "do_amp_to_db_linear",
        "pitch_f*",
        "sound_norm_refresh",
        "compute_f0",
        "*_frequency",
        "use_phonemes",
    )

    fft_size: SampleCount = 1024
    win_length: SampleCount | None = 1024
    hop_length: SampleCount | None = 256
    frame_shift_ms: float | None = None
    frame_length_ms: float | None = None
    stft_pad_mode: Literal["reflect", "constant"] = "reflect"
    sample_rate: SamplingRateHz = 22050
    preemphasis: float = 0.0
    ref_level_db: float = 20.0
    do_sound_norm: bool = False
    log_func: Literal["np.log", "np.log10"] = "np.log10"
    num_mels: Count = 80
    mel_fmin: FrequencyHz = 0.0
    mel_fmax: FrequencyHz | None = None
    spec_gain: float = 20.0
    do_amp_to_db_mel: bool = True
    signal_norm: bool = True
    min_level_db: float = -100.0
    symmetric_norm: bool = True
    max_norm: float = 4.0
    clip_norm: bool = True
    stats_path: str | None = None
    num_freq: SampleCount | None = None

    def __post_init__(self) -> None:
        """Refuse what no mel convention states."""
        require(
            self.preemphasis == 0,
            "preemphasis must be 0, since no mel convention filters audio",
            self.preemphasis,
        )
        require(
            not self.do_sound_norm, "do_sound_norm must be false, since it scales audio", self.do_sound_norm
        )
        require(
            self.do_amp_to_db_mel,
            "do_amp_to_db_mel must be true: linear mels are not known",
            self.do_amp_to_db_mel,
        )
        bins = self.fft_size // 2 + 1
        require(
            self.num_freq in (None, bins),
            f"num_freq must be {bins}, the bins of fft_size {self.fft_size}",
            self.num_freq,
        )
        require(self.spec_gain > 0, "spec_gain must be above 0", self.spec_gain)
        require(
            not (self.signal_norm and self.stats_path),
            "statistics of a training set (stats_path) are not read; export with the mel that they give",
            self.stats_path,
        )

    def convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on; coqui-tts 0.28.0, utils/audio/numpy_transforms."""
        ranged: dict[str, Any] = {"scale": self.spec_gain}
        if self.signal_norm:
            ranged = normalized_range(
                gain=self.spec_gain,
                ref_level_db=self.ref_level_db,
                min_level_db=self.min_level_db,
                max_norm=self.max_norm,
                symmetric=self.symmetric_norm,
                clip=self.clip_norm,
            )
        window, hop = self._lengths()
        return trainer_convention(
            "coqui-22k",
            "coqui",
            sample_rate=self.sample_rate,
            n_fft=self.fft_size,
            win_length=window,
            hop_length=hop,
            n_mels=self.num_mels,
            f_min_hz=self.mel_fmin,
            f_max_hz=self.mel_fmax or self.sample_rate / 2,
            padding="reflect" if self.stft_pad_mode == "reflect" else "zero",
            compression="ln" if self.log_func == "np.log" else "log10",
            **ranged,
        )

    def _lengths(self) -> tuple[int, int]:
        """Window and hop length in samples; times in milliseconds decide both where the hop length is null.

        Source: `millisec_to_length` of coqui-tts 0.28.0, utils/audio/numpy_transforms.
        """
        if self.hop_length is not None:
            return self.win_length or self.fft_size, self.hop_length
        length_ms, shift_ms = self.frame_length_ms or 0.0, self.frame_shift_ms or 0.0
        require(
            0 < shift_ms <= length_ms and (length_ms / shift_ms).is_integer(),
            "without hop_length, frame_length_ms must be a multiple of frame_shift_ms above 0",
            [length_ms, shift_ms],
        )
        window = int(length_ms / 1000 * self.sample_rate)
        return window, int(window / (length_ms / shift_ms))


class CoquiHifiGanLayout:
    """The weights under `model`; a checkpoint of the trainer also holds the discriminators."""

    name = "HiFi-GAN of Coqui TTS"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration names the generator."""
        return seen.config.get("generator_model") == _GENERATOR

    def read(self, seen: Seen) -> ReadModel:
        """Take the network from `generator_model_params` and the mel from `audio`."""
        config, where = seen.package.config(), seen.package.config_name
        network = parsed(
            _GeneratorKeys,
            section(config, "generator_model_params", where),
            seen,
            "generator_model_params",
        )
        audio = parsed(_AudioKeys, section(config, "audio", where), seen, "audio")
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=hifigan_keys(
                audio.convention(),
                resblock=network.resblock_type,
                rates=network.upsample_factors,
                kernels=network.upsample_kernel_sizes,
                channels=network.upsample_initial_channel,
                branch_kernels=network.resblock_kernel_sizes,
                branch_dilations=network.resblock_dilation_sizes,
                bias="all" if network.conv_post_bias else "not-last",
            ),
            published=config,
            config_name=where,
            checkpoint=seen.weights("model", "model_g"),
        )
