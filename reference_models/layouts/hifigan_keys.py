"""What the layouts of HiFi-GANs share: a network and a mel convention as the keys of `HifiGanConfig`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["hifigan_keys"]


def hifigan_keys(
    mel: MelConvention,
    *,
    resblock: str,
    rates: Sequence[int],
    kernels: Sequence[int],
    channels: int,
    branch_kernels: Sequence[int],
    branch_dilations: Sequence[Sequence[int]],
    **variations: object,
) -> dict[str, object]:
    """A HiFi-GAN as the keys of the family's configuration.

    Args:
        mel: Convention of the mels that the network was trained on, before any normalization in the network.
        resblock: `1` for pairs of convolutions, `2` for single ones.
        rates: Stride of each transposed convolution.
        kernels: Kernel size of each transposed convolution.
        channels: Channels after the first convolution.
        branch_kernels: Kernel size of each parallel branch.
        branch_dilations: Dilations of each parallel branch.
        **variations: Further keys of `HifiGanConfig`, such as `leaky_relu_slope`.
    """
    return {
        "resblock": resblock,
        "upsample_rates": list(rates),
        "upsample_kernel_sizes": list(kernels),
        "upsample_initial_channel": channels,
        "resblock_kernel_sizes": list(branch_kernels),
        "resblock_dilation_sizes": [list(each) for each in branch_dilations],
        "num_mels": mel.n_mels,
        "n_fft": mel.n_fft,
        "hop_size": mel.hop_length,
        "win_size": mel.win_length,
        "sampling_rate": mel.sample_rate,
        "fmin": mel.f_min_hz,
        "fmax": mel.f_max_hz,
        "mel": msgspec.to_builtins(mel),
        **variations,
    }
