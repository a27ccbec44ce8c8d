"""Effects and checks of the audio between the vocoder and the output."""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.cli.process import GATE_FAILED
from voirs_vocoder.runtime.analysis import OutputChecker
from voirs_vocoder.runtime.artifact.effects import chosen_chain
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.printing import remark

__all__ = ["Finishing"]


class Finishing:
    """Mono audio through a chain of effects, checked on its way out.

    Attributes:
        channels: Number of channels of the output.
        latency_samples: Samples by which the effects delay a stream.
    """

    def __init__(self, effects: str | None, artifact: Artifact, *, check: bool) -> None:
        """Load the chain and the checks.

        Args:
            effects: Preset, .toml file or `artifact`; None applies no effects.
            artifact: Artifact that synthesizes, and may contain a chain.
            check: Whether to check the output.

        Raises:
            InputError: The chain cannot be used, or a package that it needs is not installed.
        """
        rate = artifact.manifest.sample_rate
        self._stream = None if effects is None else chosen_chain(effects, artifact).open(rate)
        self.channels = 1 if self._stream is None else self._stream.channels
        self.latency_samples = 0 if self._stream is None else self._stream.latency_samples
        self._checker = OutputChecker(rate, self.channels) if check else None

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pass on the next float32 [1, samples]; returns the finished float32 [channels, samples]."""
        return self._checked(samples if self._stream is None else self._stream.process(samples))

    def finish(self) -> NDArray[np.float32]:
        """The remaining samples, float32 [channels, samples]."""
        if self._stream is None:
            return np.empty((1, 0), np.float32)
        return self._checked(self._stream.finish())

    def judge(self) -> None:
        """Print the checks that failed.

        Raises:
            click.exceptions.Exit: A check failed.
        """
        if self._checker is None:
            return
        report = self._checker.finish()
        for check in report.checks:
            if not check.passed:
                remark(f"failed: {check.name} is {check.measured:.4g}, the limit is {check.limit:g}")
        if not report.passed:
            raise click.exceptions.Exit(GATE_FAILED)

    def _checked(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._checker is not None and samples.size:
            self._checker.push(samples)
        return samples
