"""Configurations of published models in the keys of their official files, and of a U-Net of the same size class."""

from __future__ import annotations

import numpy as np

__all__ = [
    "BIGVGAN_BASE",
    "DIFFWAVE",
    "HIFIGAN_V1",
    "HIFIGAN_V2",
    "HIFIGAN_V3",
    "UNET",
    "VOCOS_24K",
    "WAVEGLOW",
    "Config",
]

Config = dict[str, object]

_HIFIGAN_MEL: Config = {
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
}
_HIFIGAN_STAGES_OF_4: Config = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
}
# github.com/jik876/hifi-gan at 4769534, config_v1.json to config_v3.json, less what only training reads.
HIFIGAN_V1: Config = {**_HIFIGAN_STAGES_OF_4, "upsample_initial_channel": 512, **_HIFIGAN_MEL}
HIFIGAN_V2: Config = {**_HIFIGAN_STAGES_OF_4, "upsample_initial_channel": 128, **_HIFIGAN_MEL}
HIFIGAN_V3: Config = {
    "resblock": "2",
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 256,
    "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    **_HIFIGAN_MEL,
}
# github.com/NVIDIA/BigVGAN, 2.4.1, configs/bigvgan_base_24khz_100band.json, less what only training reads.
BIGVGAN_BASE: Config = {
    **_HIFIGAN_STAGES_OF_4,
    "upsample_initial_channel": 512,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 100,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 24000,
    "fmin": 0,
    "fmax": None,
}
# huggingface.co/charactr/vocos-mel-24khz, config.yaml, in the keys of our configuration.
VOCOS_24K: Config = {
    "n_mels": 100,
    "dim": 512,
    "intermediate_dim": 1536,
    "num_layers": 8,
    "n_fft": 1024,
    "hop_length": 256,
    "sampling_rate": 24000,
    "padding": "center",
}
# github.com/NVIDIA/waveglow at 8afb643, config.json.
WAVEGLOW: Config = {
    "waveglow_config": {
        "n_mel_channels": 80,
        "n_flows": 12,
        "n_group": 8,
        "n_early_every": 4,
        "n_early_size": 2,
        "WN_config": {"n_layers": 8, "n_channels": 256, "kernel_size": 3},
    },
    "data_config": {
        "sampling_rate": 22050,
        "filter_length": 1024,
        "hop_length": 256,
        "win_length": 1024,
        "mel_fmin": 0.0,
        "mel_fmax": 8000.0,
    },
}
_DIFFUSION_MEL: Config = {"sample_rate": 22050, "n_mels": 80, "n_fft": 1024, "hop_samples": 256}
# github.com/lmnt-com/diffwave at 0594106, params.py.
DIFFWAVE: Config = {
    **_DIFFUSION_MEL,
    "residual_layers": 30,
    "residual_channels": 64,
    "dilation_cycle_length": 10,
    "noise_schedule": np.linspace(1e-4, 0.05, 50).tolist(),
    "inference_noise_schedule": [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5],
}
UNET: Config = {
    **_DIFFUSION_MEL,
    "channels": [64, 128, 256, 256],
    "blocks": 1,
    "group_channels": 16,
    "attention_heads": 4,
    "attention_reach_frames": 8,
    "conditioner_channels": 8,
    "embedding_channels": 256,
    "noise_schedule": np.linspace(1e-4, 0.05, 200).tolist(),
    "sampler": "dpm-solver++",
    "steps": 6,
    "audio_rms": 0.1,
    "conditioning_dropout": 0.1,
}
