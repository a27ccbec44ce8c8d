"""HiFi-GANs of ParallelWaveGAN and ESPnet: checkpoint-*steps.pkl, config.yml, and statistics of the training set."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voirs_vocoder.reference_models.config import (
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    require,
    trainer_convention,
)
from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError
from voirs_vocoder.reference_models.layouts.hifigan_keys import hifigan_keys
from voirs_vocoder.reference_models.layouts.layout import ReadModel, Seen, parsed, renamed, section
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["ParallelWaveGanHifiGanLayout"]

_GENERATOR = "HiFiGANGenerator"
_DEFAULT_GENERATOR = "ParallelWaveGANGenerator"
# parallel_wavegan 0.6.1, utils.load_model: released configurations spell the key so.
_MISSPELT, _SPELT = "upsample_kernal_sizes", "upsample_kernel_sizes"
_STATISTICS = ("stats.h5", "stats.npy")
_BLOCK = re.compile(r"blocks\.(\d+)\.(convs\d?)\.(\d+)\.1\.(?:conv\.)?(.+)")
_UPSAMPLE = re.compile(r"upsamples\.(\d+)\.1\.(?:deconv\.)?(.+)")
_OUTPUT = re.compile(r"output_conv\.1\.(?:conv\.)?(.+)")
_INPUT = re.compile(r"input_conv\.(?:conv\.)?(.+)")
_MAX_BANDS = 1 << 12
_MAX_REASON = 160

Statistics = tuple[NDArray[np.float32], NDArray[np.float32]]


class _SlopeKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `nonlinear_activation_params` of the network."""

    title: ClassVar[str] = "LeakyReLU"
    ignored: ClassVar[tuple[str, ...]] = ("inplace",)

    negative_slope: float = 0.1


class _GeneratorKeys(ModelConfig, frozen=True, kw_only=True):
    """Section `generator_params`: the network, with the defaults of HiFiGANGenerator in parallel_wavegan 0.6.1."""

    title: ClassVar[str] = "HiFiGANGenerator of ParallelWaveGAN"
    ignored: ClassVar[tuple[str, ...]] = ("use_weight_norm",)

    in_channels: Count = 80
    out_channels: Literal[1] = 1
    channels: Count = 512
    kernel_size: Literal[7] = 7
    upsample_scales: tuple[Count, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[Count, ...] = (16, 16, 4, 4)
    resblock_kernel_sizes: tuple[Count, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[Count, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    use_additional_convs: bool = True
    bias: bool = True
    nonlinear_activation: Literal["LeakyReLU"] = "LeakyReLU"
    nonlinear_activation_params: dict[str, object] = msgspec.field(default_factory=dict)
    use_causal_conv: bool = False

    def __post_init__(self) -> None:
        """Check the rule of the code between kernels and rates."""
        for rate, kernel in zip(self.upsample_scales, self.upsample_kernel_sizes, strict=False):
            require(kernel == 2 * rate, f"an upsample kernel must be twice its rate {rate}", kernel)

    @property
    def crops(self) -> list[list[int]] | None:
        """Samples that each transposed convolution's full output loses at its ends; None where half of the excess.

        The code pads by rate // 2 + rate % 2 and adds rate % 2 at the end: parallel_wavegan 0.6.1, models/hifigan.py.
        """
        if self.use_causal_conv or all(rate % 2 == 0 for rate in self.upsample_scales):
            return None
        return [[(rate + 1) // 2, rate // 2] for rate in self.upsample_scales]


class _Keys(ModelConfig, frozen=True, kw_only=True):
    """Keys of config.yml that describe the model; the file holds those of the training as well."""

    title: ClassVar[str] = "ParallelWaveGAN configuration"
    # Those of the recipes and options of parallel_wavegan 0.6.1 that concern recordings, losses and the training. A
    # gain (`global_gain_scale`) is applied to the audio after its mel was taken, and the weights hold it.
    ignored: ClassVar[tuple[str, ...]] = (
        "generator_type",
        "generator_params",
        "format",
        "version",
        "trim_*",
        "global_gain_scale",
        "discriminator_*",
        "generator_adv_loss_params",
        "generator_train_start_steps",
        "*_optimizer_type",
        "*_optimizer_params",
        "*_scheduler_type",
        "*_scheduler_params",
        "*_grad_norm",
        "*_loss_params",
        "use_*_loss",
        "lambda_*",
        "batch_size",
        "batch_max_steps",
        "pin_memory",
        "num_workers",
        "num_save_intermediate_results",
        "remove_short_samples",
        "allow_cache",
        "update_prediction_after_generator_update",
        "*_interval_steps",
        "train_*",
        "dev_*",
        "outdir",
        "config",
        "pretrain",
        "resume",
        "verbose",
        "rank",
        "local_rank",
        "distributed",
        "world_size",
    )

    sampling_rate: SamplingRateHz
    fft_size: SampleCount
    hop_size: SampleCount
    win_length: SampleCount | None = None
    window: Literal["hann"] = "hann"
    num_mels: Count
    fmin: FrequencyHz | None = None
    fmax: FrequencyHz | None = None
    log_base: float | None = 10.0
    use_f0: bool = False
    use_chroma: bool = False
    use_local_condition: bool = False
    use_global_condition: bool = False
    sampling_rate_for_feats: SamplingRateHz | None = None

    def __post_init__(self) -> None:
        """Refuse inputs beside the mel, and logarithms that no mel convention has."""
        require(self.log_base in (10.0, None), "log_base must be 10, or null for e", self.log_base)
        require(
            not (self.use_f0 or self.use_chroma or self.use_local_condition or self.use_global_condition),
            "the mel must be the only input: use_f0, use_chroma, use_local_condition and use_global_condition must be "
            "false",
            True,
        )
        require(
            self.sampling_rate_for_feats in (None, self.sampling_rate),
            f"sampling_rate_for_feats must be sampling_rate {self.sampling_rate}, since a mel convention has one rate",
            self.sampling_rate_for_feats,
        )

    def convention(self) -> MelConvention:
        """The mel spectrogram before the statistics; parallel_wavegan 0.6.1, bin/preprocess.logmelfilterbank."""
        return trainer_convention(
            "parallel-wavegan-22k",
            "parallel-wavegan",
            sample_rate=self.sampling_rate,
            n_fft=self.fft_size,
            win_length=self.win_length or self.fft_size,
            hop_length=self.hop_size,
            n_mels=self.num_mels,
            f_min_hz=self.fmin or 0.0,
            f_max_hz=self.fmax or self.sampling_rate / 2,
            compression="log10" if self.log_base else "ln",
        )


class ParallelWaveGanHifiGanLayout:
    """The weights under `model`, `generator`; a mel is normalized by the statistics first."""

    name = "HiFi-GAN of ParallelWaveGAN"
    family = "hifigan"

    def recognizes(self, seen: Seen) -> bool:
        """Whether the configuration names the generator, or the names are those of its layers."""
        return seen.config.get("generator_type") == _GENERATOR or (
            seen.has(r"input_conv\.(?:conv\.)?weight(?:_g|_v)?") and seen.has(r"upsamples\.0\.1\..*")
        )

    def read(self, seen: Seen) -> ReadModel:
        """Rename the layers, and take mean and scale of the training set into the network."""
        config, where = seen.package.config(), seen.package.config_name
        found = config.get("generator_type", _DEFAULT_GENERATOR)
        if found != _GENERATOR:
            raise ModelConfigError(
                f"{where}: these weights are of a {_GENERATOR}, the configuration of a {found}; give the "
                "configuration of this checkpoint"
            )
        keys = parsed(_Keys, config, seen)
        network = parsed(
            _GeneratorKeys, _spelt(section(config, "generator_params", where)), seen, "generator_params"
        )
        require(
            network.in_channels == keys.num_mels,
            f"{where}: generator_params.in_channels must be num_mels {keys.num_mels}, since a vocoder takes a mel",
            network.in_channels,
        )
        slope = parsed(_SlopeKeys, network.nonlinear_activation_params, seen, "nonlinear_activation_params")
        weights = renamed(seen.weights("model", "generator"), _own_name)
        statistics = _statistics(seen, network.in_channels)
        return ReadModel(
            layout=self.name,
            family=self.family,
            config=hifigan_keys(
                keys.convention(),
                resblock="1" if network.use_additional_convs else "2",
                rates=network.upsample_scales,
                kernels=network.upsample_kernel_sizes,
                channels=network.channels,
                branch_kernels=network.resblock_kernel_sizes,
                branch_dilations=network.resblock_dilations,
                bias="all" if network.bias else "none",
                causal=network.use_causal_conv,
                leaky_relu_slope=slope.negative_slope,
                normalized_input=bool(statistics),
                upsample_crops=network.crops,
            ),
            published=config,
            config_name=where,
            checkpoint=weights.with_tensors({**weights.tensors, **statistics}),
        )


def _spelt(generator: Mapping[str, object]) -> Mapping[str, object]:
    if _MISSPELT not in generator:
        return generator
    return {_SPELT if key == _MISSPELT else key: each for key, each in generator.items()}


def _own_name(name: str) -> str | None:
    if match := _BLOCK.fullmatch(name):
        return f"resblocks.{match[1]}.{match[2]}.{match[3]}.{match[4]}"
    if match := _UPSAMPLE.fullmatch(name):
        return f"ups.{match[1]}.{match[2]}"
    if match := _INPUT.fullmatch(name):
        return f"conv_pre.{match[1]}"
    if match := _OUTPUT.fullmatch(name):
        return f"conv_post.{match[1]}"
    return name


def _statistics(seen: Seen, bands: int) -> dict[str, Tensor]:
    """Mean and scale of the training set's mels, from the file beside the weights."""
    if not seen.normalize:
        return {}
    present = [name for name in _STATISTICS if seen.package.has_file(name)]
    if not present:
        raise CheckpointError(
            f"{seen.package.path}: mels of ParallelWaveGAN are normalized by statistics of the training set, "
            f"{' or '.join(_STATISTICS)} is missing; put it beside the weights, or state that the network takes "
            "mels as they are: normalize=False"
        )
    if len(present) > 1:
        raise CheckpointError(
            f"{seen.package.path}: one file of statistics is needed, got both; remove the wrong one"
        )
    where = f"{seen.package.path.parent / present[0]}"
    read = _hdf5_statistics if present[0].endswith(".h5") else _npy_statistics
    mean, scale = read(seen.package.file(present[0]), where)
    for name, values in (("mean", mean), ("scale", scale)):
        if values.shape != (bands,) or not np.isfinite(values).all():
            raise CheckpointError(
                f"{where}: {name} must be {bands} finite numbers, one per band, got shape {values.shape}"
            )
    if not (scale > 0).all():
        raise CheckpointError(f"{where}: scale must be above 0, got {scale.min():g}; get the file again")
    return {"mean": torch.from_numpy(mean), "scale": torch.from_numpy(scale)}


def _npy_statistics(data: bytes, where: str) -> Statistics:
    try:
        both = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        return both[0].astype(np.float32), both[1].astype(np.float32)
    except Exception as error:  # a malformed header makes numpy raise any exception
        raise CheckpointError(
            f"{where}: must hold an array [2, bands], it is damaged; get the file again"
        ) from error


def _hdf5_statistics(data: bytes, where: str) -> Statistics:
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"{where}: statistics in HDF5 need the package h5py, which is not installed; pip install "
            "'voirs-vocoder[hdf5]', or save them as stats.npy"
        ) from error
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            mean, scale = (_dataset(file, name, h5py) for name in ("mean", "scale"))
    except Exception as error:  # a damaged file makes the library raise any exception
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise CheckpointError(
            f"{where}: must hold the datasets mean and scale: {reason}; get the file again"
        ) from error
    return mean, scale


def _dataset(file: Any, name: str, h5py: Any) -> NDArray[np.float32]:
    """A dataset whose bytes lie in the file as they are: no other file is opened, nothing is unpacked."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing or a link")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual or found.chunks is not None:
        raise ValueError(f"{name} is no plain dataset")
    if found.ndim != 1 or found.size > _MAX_BANDS or found.dtype.kind != "f":
        raise ValueError(f"{name} must be one row of floating point numbers")
    values: NDArray[np.float32] = found[()].astype(np.float32)
    return values
