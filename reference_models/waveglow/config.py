"""The official WaveGlow configuration, validated, and what can be computed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voirs_vocoder.reference_models.config_values import (
    MAX_SAMPLING_RATE,
    MAX_SIZE,
    ConfigValues,
    config_from_json,
    require,
)

__all__ = ["UPSAMPLE_KERNEL", "UPSAMPLE_STRIDE", "WaveGlowConfig"]

# The official code fixes these two: glow.py, github.com/NVIDIA/waveglow at 8afb643.
UPSAMPLE_KERNEL = 1024
UPSAMPLE_STRIDE = 256

_MAX_FLOWS = 64
_MAX_LAYERS = 16
_MAX_KERNEL = 63
# (n_flows, n_group, n_early_every, n_early_size, n_layers, kernel_size), which both published models share; the
# universal checkpoint (v5) has 256 channels, the one before it 512.
_PUBLISHED = (12, 8, 4, 2, 8, 3)


@dataclass(frozen=True)
class WaveGlowConfig:
    """A WaveGlow and the mel spectrogram that it was trained on.

    Field names are those of `waveglow_config` and `data_config` in the official JSON file; keys that only training
    needs are ignored.

    Attributes:
        n_mel_channels: Mel bands.
        n_flows: Steps of flow.
        n_group: Audio samples that become one step's channels.
        n_early_every: Flows between early outputs.
        n_early_size: Channels that leave at each.
        n_layers: Layers of each coupling network, with dilations 1, 2, 4, ...
        n_channels: Their channels.
        kernel_size: Their kernel size, odd.
        sampling_rate: In Hz.
        filter_length: FFT size of the mel spectrogram.
        hop_length: Samples between mel frames.
        win_length: Window length of the mel spectrogram, in samples.
        mel_fmin: Lower edge of the mel filters, in Hz.
        mel_fmax: Upper edge, in Hz.
        source: The JSON object as read.
    """

    n_mel_channels: int
    n_flows: int
    n_group: int
    n_early_every: int
    n_early_size: int
    n_layers: int
    n_channels: int
    kernel_size: int
    sampling_rate: int
    filter_length: int
    hop_length: int
    win_length: int
    mel_fmin: float
    mel_fmax: float
    source: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything that the network and the runtime rely on."""
        for name in (
            "n_mel_channels",
            "n_flows",
            "n_early_every",
            "n_early_size",
            "n_layers",
            "filter_length",
            "win_length",
            "sampling_rate",
        ):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            self.n_group >= 2 and self.n_group % 2 == 0 and UPSAMPLE_STRIDE % self.n_group == 0,
            f"n_group must be even and divide {UPSAMPLE_STRIDE}",
            self.n_group,
        )
        require(
            self.n_channels >= 2 and self.n_channels % 2 == 0,
            "n_channels must be even and positive",
            self.n_channels,
        )
        require(
            self.kernel_size >= 1 and self.kernel_size % 2 == 1, "kernel_size must be odd", self.kernel_size
        )
        require(
            self.hop_length == UPSAMPLE_STRIDE,
            f"hop_length must be {UPSAMPLE_STRIDE}, as the network upsamples by it",
            self.hop_length,
        )
        # Both halves of a coupling need at least one channel, and as many.
        require(
            self.remaining_channels >= 2 and self.n_early_size % 2 == 0,
            f"n_early_size must be even and leave channels after {self.early_outputs} early outputs of "
            f"{self.n_group} channels",
            self.n_early_size,
        )
        require(
            self.win_length <= self.filter_length,
            f"win_length must be at most filter_length {self.filter_length}",
            self.win_length,
        )
        require(
            0 <= self.mel_fmin < self.mel_fmax <= self.sampling_rate / 2,
            "0 <= mel_fmin < mel_fmax <= nyquist",
            [self.mel_fmin, self.mel_fmax],
        )

    @classmethod
    def from_json(cls, path: Path) -> WaveGlowConfig:
        """Read an official configuration file.

        Raises:
            ModelConfigError: It cannot be read, is not JSON, lacks a key, or does not make sense.
        """
        return config_from_json(path, cls.from_mapping)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> WaveGlowConfig:
        """Build from the keys of an official JSON file.

        Raises:
            ModelConfigError: A key is missing, of the wrong type, or does not make sense.
        """
        keys = ConfigValues(values, "WaveGlow")
        model, data = keys.section("waveglow_config"), keys.section("data_config")
        coupling = model.section("WN_config")
        return cls(
            n_mel_channels=model.integer("n_mel_channels"),
            n_flows=model.integer("n_flows", _MAX_FLOWS),
            n_group=model.integer("n_group"),
            n_early_every=model.integer("n_early_every"),
            n_early_size=model.integer("n_early_size"),
            n_layers=coupling.integer("n_layers", _MAX_LAYERS),
            n_channels=coupling.integer("n_channels"),
            kernel_size=coupling.integer("kernel_size", _MAX_KERNEL),
            sampling_rate=data.integer("sampling_rate", MAX_SAMPLING_RATE),
            filter_length=data.integer("filter_length", MAX_SIZE << 4),
            hop_length=data.integer("hop_length", MAX_SIZE << 4),
            win_length=data.integer("win_length", MAX_SIZE << 4),
            mel_fmin=data.frequency_hz("mel_fmin"),
            mel_fmax=data.frequency_hz("mel_fmax"),
            source=dict(values),
        )

    def is_early(self, flow: int) -> bool:
        """Whether channels leave before this flow."""
        return flow > 0 and flow % self.n_early_every == 0

    @property
    def early_outputs(self) -> int:
        """How often channels leave."""
        return sum(self.is_early(flow) for flow in range(self.n_flows))

    @property
    def remaining_channels(self) -> int:
        """Channels that go through every flow."""
        return self.n_group - self.early_outputs * self.n_early_size

    def channels_of(self, flow: int) -> int:
        """Channels that a flow transforms."""
        return self.n_group - sum(self.is_early(k) for k in range(flow + 1)) * self.n_early_size

    @property
    def variant(self) -> str:
        """`256ch` or `512ch` for the geometry of the published checkpoints, or `custom`."""
        own = (
            self.n_flows,
            self.n_group,
            self.n_early_every,
            self.n_early_size,
            self.n_layers,
            self.kernel_size,
        )
        if own == _PUBLISHED and self.n_channels in (256, 512):
            return f"{self.n_channels}ch"
        return "custom"

    @property
    def look_ahead_samples(self) -> int:
        """Future audio samples that an output sample depends on: each flow reaches as far as its coupling network."""
        dilations: int = 2**self.n_layers - 1
        reach_groups = self.n_flows * (self.kernel_size - 1) // 2 * dilations
        return reach_groups * self.n_group

    @property
    def look_ahead_frames(self) -> int:
        """The same in whole mel frames."""
        return math.ceil(self.look_ahead_samples / self.hop_length)

    @property
    def context_frames(self) -> int:
        """Mel frames before a frame that its audio depends on; the upsampling adds what it rings on."""
        ringing = UPSAMPLE_KERNEL - UPSAMPLE_STRIDE
        return math.ceil((self.look_ahead_samples + ringing) / self.hop_length)

    def mel_convention(self) -> dict[str, object]:
        """The mel spectrogram of the official code, as keyword arguments of `MelConvention`.

        Source: `Mel2Samp.get_mel` of github.com/NVIDIA/waveglow at 8afb643, which calls Tacotron 2's `TacotronSTFT`.
        """
        published = (80, 1024, 256, 1024, 22050, 0.0, 8000.0)
        own = (
            self.n_mel_channels,
            self.filter_length,
            self.hop_length,
            self.win_length,
            self.sampling_rate,
            self.mel_fmin,
            self.mel_fmax,
        )
        custom = (
            f"tacotron2-{self.sampling_rate}hz-{self.n_mel_channels}x{self.hop_length}-"
            f"n{self.filter_length}w{self.win_length}-f{self.mel_fmin:g}-{self.mel_fmax:g}"
        )
        return {
            "id": "tacotron2-22k" if own == published else custom,
            "sample_rate": self.sampling_rate,
            "n_fft": self.filter_length,
            "win_length": self.win_length,
            "hop_length": self.hop_length,
            "n_mels": self.n_mel_channels,
            "f_min_hz": self.mel_fmin,
            "f_max_hz": self.mel_fmax,
            "framing": "centered",
            "mel_scale": "slaney",
            "mel_norm": "slaney",
            "compression": "ln",
            "floor": 1e-5,
        }
