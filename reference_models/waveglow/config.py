"""The official WaveGlow configuration, validated, and what can be computed from it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from voirs_vocoder.reference_models.config import (
    ConfigSection,
    Count,
    FrequencyHz,
    ModelConfig,
    SampleCount,
    SamplingRateHz,
    derived_convention,
    require,
)
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["UPSAMPLE_KERNEL", "UPSAMPLE_STRIDE", "CouplingKeys", "FlowKeys", "MelKeys", "WaveGlowConfig"]

# The official code fixes these two: glow.py, github.com/NVIDIA/waveglow at 8afb643.
UPSAMPLE_KERNEL = 1024
UPSAMPLE_STRIDE = 256

# Twice those of the published models and more; making others takes seconds before any weight is compared.
_MAX_LAYERS = 256

# (n_flows, n_group, n_early_every, n_early_size, n_layers, kernel_size), which both published models share; the
# universal checkpoint (v5) has 256 channels, the one before it 512.
_PUBLISHED = (12, 8, 4, 2, 8, 3)


class CouplingKeys(ConfigSection, frozen=True, kw_only=True):
    """Section `WN_config`: the network inside each coupling.

    Attributes:
        n_layers: Number of layers, with dilations 1, 2, 4, ...
        n_channels: Channels of each layer, even.
        kernel_size: Kernel size of each layer, odd.
    """

    n_layers: Annotated[int, Meta(ge=1, le=16)]
    n_channels: Count
    kernel_size: Annotated[int, Meta(ge=1, le=63)]


class FlowKeys(ConfigSection, frozen=True, kw_only=True):
    """Section `waveglow_config`: the network.

    Attributes:
        n_mel_channels: Number of mel bands.
        n_flows: Steps of flow.
        n_group: Audio samples that become the channels of one step, even.
        n_early_every: Number of flows between early outputs.
        n_early_size: Channels that leave at each early output, even.
        coupling: Section `WN_config`.
    """

    n_mel_channels: Count
    n_flows: Annotated[int, Meta(ge=1, le=64)]
    n_group: Count
    n_early_every: Count
    n_early_size: Count
    coupling: CouplingKeys = msgspec.field(name="WN_config")


class MelKeys(ConfigSection, frozen=True, kw_only=True):
    """Section `data_config`: the mel spectrogram that the network was trained on.

    Attributes:
        sampling_rate: Sampling rate in Hz.
        filter_length: FFT size in samples.
        hop_length: Audio samples between mel frames.
        win_length: Window length in samples.
        mel_fmin: Lower edge of the mel filters, in Hz.
        mel_fmax: Upper edge of the mel filters, in Hz.
    """

    ignored: ClassVar[tuple[str, ...]] = ("training_files", "segment_length", "max_wav_value")

    sampling_rate: SamplingRateHz
    filter_length: SampleCount
    hop_length: SampleCount
    win_length: SampleCount
    mel_fmin: FrequencyHz
    mel_fmax: FrequencyHz


class WaveGlowConfig(ModelConfig, frozen=True, kw_only=True):
    """A WaveGlow and the mel spectrogram that it was trained on.

    Names below the sections are those of the official JSON file.

    Attributes:
        flow: Section `waveglow_config`.
        mel: Section `data_config`.
    """

    title: ClassVar[str] = "WaveGlow"
    ignored: ClassVar[tuple[str, ...]] = ("train_config", "dist_config")

    flow: FlowKeys = msgspec.field(name="waveglow_config")
    mel: MelKeys = msgspec.field(name="data_config")

    def __post_init__(self) -> None:
        """Check the rules between keys."""
        flow, coupling, mel = self.flow, self.flow.coupling, self.mel
        require(
            flow.n_group % 2 == 0 and UPSAMPLE_STRIDE % flow.n_group == 0,
            f"n_group must be even and divide {UPSAMPLE_STRIDE}",
            flow.n_group,
        )
        require(
            flow.n_flows * coupling.n_layers <= _MAX_LAYERS,
            f"n_flows times n_layers must be at most {_MAX_LAYERS} layers",
            flow.n_flows * coupling.n_layers,
        )
        require(coupling.n_channels % 2 == 0, "n_channels must be even", coupling.n_channels)
        require(coupling.kernel_size % 2 == 1, "kernel_size must be odd", coupling.kernel_size)
        require(
            mel.hop_length == UPSAMPLE_STRIDE,
            f"hop_length must be {UPSAMPLE_STRIDE}, as the network upsamples by it",
            mel.hop_length,
        )
        # Both halves of a coupling need at least one channel, and as many.
        require(
            self.remaining_channels >= 2 and flow.n_early_size % 2 == 0,
            f"n_early_size must be even and leave channels after {self.early_outputs} early outputs of "
            f"{flow.n_group} channels",
            flow.n_early_size,
        )
        require(
            mel.win_length <= mel.filter_length,
            f"win_length must be at most filter_length {mel.filter_length}",
            mel.win_length,
        )
        nyquist_hz = mel.sampling_rate / 2
        require(
            mel.mel_fmin < mel.mel_fmax <= nyquist_hz,
            f"0 <= mel_fmin < mel_fmax <= nyquist {nyquist_hz:g} Hz",
            [mel.mel_fmin, mel.mel_fmax],
        )

    def is_early(self, flow: int) -> bool:
        """Whether channels leave before this flow."""
        return flow > 0 and flow % self.flow.n_early_every == 0

    @property
    def early_outputs(self) -> int:
        """Number of flows before which channels leave."""
        return sum(self.is_early(flow) for flow in range(self.flow.n_flows))

    @property
    def remaining_channels(self) -> int:
        """Number of channels that go through every flow."""
        return self.flow.n_group - self.early_outputs * self.flow.n_early_size

    def channels_of(self, flow: int) -> int:
        """Number of channels that a flow transforms."""
        return self.flow.n_group - sum(self.is_early(k) for k in range(flow + 1)) * self.flow.n_early_size

    @property
    def variant(self) -> str:
        """`256ch` or `512ch` for the geometry of the published checkpoints, or `custom`."""
        own = (
            self.flow.n_flows,
            self.flow.n_group,
            self.flow.n_early_every,
            self.flow.n_early_size,
            self.flow.coupling.n_layers,
            self.flow.coupling.kernel_size,
        )
        if own == _PUBLISHED and self.flow.coupling.n_channels in (256, 512):
            return f"{self.flow.coupling.n_channels}ch"
        return "custom"

    @property
    def look_ahead_samples(self) -> int:
        """Future audio samples that an output sample depends on: each flow reaches as far as its coupling network."""
        dilations: int = 2**self.flow.coupling.n_layers - 1
        reach_groups = self.flow.n_flows * (self.flow.coupling.kernel_size - 1) // 2 * dilations
        return reach_groups * self.flow.n_group

    @property
    def look_ahead_frames(self) -> int:
        """`look_ahead_samples` in whole mel frames, rounded up."""
        return math.ceil(self.look_ahead_samples / self.mel.hop_length)

    @property
    def context_frames(self) -> int:
        """Mel frames before a frame that its audio depends on, the ringing of the upsampling included."""
        ringing = UPSAMPLE_KERNEL - UPSAMPLE_STRIDE
        return math.ceil((self.look_ahead_samples + ringing) / self.mel.hop_length)

    def mel_convention(self) -> MelConvention:
        """The mel spectrogram that the network was trained on.

        Source: `Mel2Samp.get_mel` of github.com/NVIDIA/waveglow at 8afb643, which calls Tacotron 2's `TacotronSTFT`.
        """
        mel, bands = self.mel, self.flow.n_mel_channels
        return derived_convention(
            "tacotron2-22k",
            f"tacotron2-{mel.sampling_rate}hz-{bands}x{mel.hop_length}-"
            f"n{mel.filter_length}w{mel.win_length}-f{mel.mel_fmin:g}-{mel.mel_fmax:g}",
            sample_rate=mel.sampling_rate,
            n_fft=mel.filter_length,
            win_length=mel.win_length,
            hop_length=mel.hop_length,
            n_mels=bands,
            f_min_hz=mel.mel_fmin,
            f_max_hz=mel.mel_fmax,
        )
