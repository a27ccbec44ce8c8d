"""What happens to audio between the vocoder and its targets: effects, and checks."""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.export.cli.failure import GATE_FAILED
from voirs_vocoder.runtime.analysis import OutputChecker
from voirs_vocoder.runtime.artifact.effects import chosen_chain
from voirs_vocoder.runtime.artifact.reading import Artifact

__all__ = ["Finishing"]


class Finishing:
    """Mono audio through a chain of effects, checked on its way out.

    Attributes:
        channels: Of what comes out.
        latency_samples: What the effects hold back in a stream.
    """

    def __init__(self, effects: str | None, artifact: Artifact, *, check: bool) -> None:
        """Load what is asked for.

        Args:
            effects: As of `--effects`; None changes nothing.
            artifact: What speaks.
            check: Whether the output is checked.

        Raises:
            InputError: The chain cannot be used, or a package that it needs is not installed.
        """
        rate = artifact.manifest.sample_rate
        self._stream = None if effects is None else chosen_chain(effects, artifact).open(rate)
        self.channels = 1 if self._stream is None else self._stream.channels
        self.latency_samples = 0 if self._stream is None else self._stream.latency_samples
        self._checker = OutputChecker(rate, self.channels) if check else None

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next of [1, samples]; gives [channels, samples] that are finished."""
        return self._checked(samples if self._stream is None else self._stream.process(samples))

    def finish(self) -> NDArray[np.float32]:
        """The rest."""
        if self._stream is None:
            return np.empty((1, 0), np.float32)
        return self._checked(self._stream.finish())

    def judge(self) -> None:
        """Say which checks failed.

        Raises:
            click.exceptions.Exit: One did.
        """
        if self._checker is None:
            return
        report = self._checker.finish()
        for check in report.checks:
            if not check.passed:
                click.echo(
                    f"failed: {check.name} is {check.measured:.4g}, the limit is {check.limit:g}", err=True
                )
        if not report.passed:
            raise click.exceptions.Exit(GATE_FAILED)

    def _checked(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._checker is not None and samples.size:
            self._checker.push(samples)
        return samples
