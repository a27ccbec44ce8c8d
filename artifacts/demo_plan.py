"""What the demo does with each family, how long each step takes, and how long is left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["FULL_SECONDS", "QUICK_SECONDS", "Clock"]


QUICK_SECONDS = {
    "hifigan": {"export": 11.0, "speak": 1.0, "quantize": 24.0, "validate": 8.0},
    "diffwave": {"export": 13.0, "quantize": 28.0, "validate": 50.0},
    "diffwave-unet": {"export": 23.0, "quantize": 9.0, "validate": 9.0},
    "vocos": {"export": 5.0, "quantize": 3.0, "validate": 3.0},
    "waveglow": {"export": 13.0, "quantize": 7.0, "validate": 7.0},
}
"""Family to step to the seconds of the quick demo on an idle core of an AMD EPYC, in order.

The order of the families keeps two processes busy to the end.
"""

FULL_SECONDS = {
    "hifigan": {"export": 120.0, "engines": 60.0, "validate": 20.0},
    "diffwave": {"export": 130.0, "validate": 180.0},
    "diffwave-unet": {"export": 45.0, "validate": 30.0},
    "vocos": {"export": 40.0, "validate": 15.0},
    "waveglow": {"export": 65.0, "validate": 20.0},
}
"""Family to step to the seconds of the full demo on an idle core of an AMD EPYC, in order."""

_TITLES = {
    "export": "exporting to ONNX",
    "speak": "synthesizing the first audio",
    "quantize": "quantizing to INT8",
    "engines": "building TensorRT engines",
    "validate": "validating on real speech",
}


# Before that many seconds of the table are finished, the pace is that of the first imports, not of the machine.
_MIN_JUDGED_S = 25.0


@dataclass
class Clock:
    """How long is left, from what each step took before and from how fast this machine is so far.

    Attributes:
        seconds: Family to step to expected seconds, in the order of the work.
        workers: Number of families at a time.
        begun: Family to the step that it is in and when that began.
        details: Family to what it is doing.
    """

    seconds: dict[str, dict[str, float]]
    workers: int
    begun: dict[str, tuple[str, float]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    _started_s: float = field(default_factory=lambda: time.monotonic())
    _finished: set[str] = field(default_factory=set)

    def begin(self, family: str, step: str) -> None:
        """A step begins."""
        self.begun[family] = (step, time.monotonic())
        self.details[family] = ""

    def finish(self, family: str) -> None:
        """A family is done."""
        self._finished.add(family)
        self.begun.pop(family, None)

    def left_s(self) -> float:
        """Seconds until the last family is done."""
        loads = [0.0] * self.workers
        running = [self._left_of(family) for family in self.begun]
        waiting = [
            sum(steps.values())
            for family, steps in self.seconds.items()
            if family not in self.begun and family not in self._finished
        ]
        for work in (*running, *waiting):
            loads[loads.index(min(loads))] += work
        return max(loads) * self._pace()

    def message(self) -> str:
        """What is being done, and how long is left."""
        doing = "; ".join(
            f"{family} {_TITLES[step]}" + (f" ({self.details[family]})" if self.details[family] else "")
            for family, (step, _) in self.begun.items()
        )
        return f"about {max(5, 5 * round(self.left_s() / 5))} s left: {doing or 'starting'}"

    def _left_of(self, family: str) -> float:
        step, begun_s = self.begun[family]
        steps = list(self.seconds[family])
        later = sum(self.seconds[family][name] for name in steps[steps.index(step) + 1 :])
        return later + max(1.0, self.seconds[family][step] - (time.monotonic() - begun_s))

    def _pace(self) -> float:
        """Seconds that a second of the table takes here, judged by the steps that are done."""
        done = sum(sum(self.seconds[family].values()) for family in self._finished)
        for family, (step, _) in self.begun.items():
            steps = list(self.seconds[family])
            done += sum(self.seconds[family][name] for name in steps[: steps.index(step)])
        oldest_s = min((begun_s for _, begun_s in self.begun.values()), default=time.monotonic())
        elapsed_s = (oldest_s - self._started_s) * self.workers
        return min(10.0, max(0.2, elapsed_s / done)) if done > _MIN_JUDGED_S and elapsed_s > 0 else 1.0
