"""The one training loop, which never asks which family it serves."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voirs_vocoder.reference_models.checkpoints.reading import load_into, read_checkpoint
from voirs_vocoder.reference_models.errors import ReferenceModelError
from voirs_vocoder.reference_models.training.curve import Curve, draw_curve
from voirs_vocoder.reference_models.training.data import Segments, Utterance, load_speech
from voirs_vocoder.reference_models.training.evaluation import evaluate
from voirs_vocoder.reference_models.training.settings import Recipe, TrainingSettings
from voirs_vocoder.reference_models.training.state import MovingAverage, TrainingFolder
from voirs_vocoder.reference_models.training.task import Task, Turn

__all__ = ["Run", "TrainingReport", "train"]

# A longer gap between two steps is a pause, of the process or of the machine, and does not count as training.
_LONGEST_STEP_S = 10.0
_SECONDS_PER_HOUR = 3600.0
# Under which checkpoints of the families keep their weights, where not bare.
_WEIGHTS_KEYS = ("model", "generator")


@dataclass(frozen=True)
class Run:
    """One call of `train`.

    Attributes:
        data: Folder of recordings.
        output: Folder of the training; one that holds a state goes on from it.
        hours: Hours of training in all, pauses and evaluations not counted.
        steps: Stop after so many in all; None for no limit.
        device: Device of the training, such as `cpu`, `cuda` or `cuda:1`. A training may be continued on another one.
        compiled: Whether the networks are compiled by `torch.compile`, which takes a minute or two at the beginning.
        start_from: Weights that a training begins with, as the model's family loads them; None begins at random. A
            training that goes on from a state does not read them again.
        report_steps: Steps between rows of the curve.
        save_s: Seconds of training between states.
        evaluate_s: Seconds of training between evaluations.
    """

    data: Path
    output: Path
    hours: float
    steps: int | None = None
    start_from: Path | None = None
    device: str = "cpu"
    compiled: bool = False
    report_steps: int = 100
    save_s: float = 300.0
    evaluate_s: float = 1200.0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0.0 < self.hours < math.inf or (self.steps is not None and self.steps < 1):
            raise ReferenceModelError(
                f"hours must be positive and steps at least 1, got {self.hours} and {self.steps}"
            )
        _device(self.device)


@dataclass(frozen=True)
class TrainingReport:
    """Where a training stands.

    Attributes:
        step: Steps done.
        spent_s: Time of training.
        total_s: Time that it has.
        steps_per_s: Steps per second of training since the last report; 0 where there were none.
        audio_s_per_s: Seconds of audio that were learnt from per second of training since the last report.
        figures: Means since the last report, and after an evaluation `QUALITY`.
    """

    step: int
    spent_s: float
    total_s: float
    steps_per_s: float
    audio_s_per_s: float
    figures: Mapping[str, float | None]


def train(
    recipe: Recipe,
    run: Run,
    *,
    report: Callable[[TrainingReport], None],
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingReport:
    """Train until the time is over, or go on with a training that was stopped.

    Step k sees the same segments and noise whenever it runs, so that a training that was stopped and resumed gives the
    weights of one that was not, as far as its clock gives the same times.

    Args:
        recipe: Model to train, and its settings.
        run: Data, output and duration.
        report: Called with the state of the training.
        stop: Called after every step; True ends the training in a state that it can go on from.
        clock: Returns monotonic time in seconds.

    Returns:
        The last report, with the quality at the end.

    Raises:
        InputError: The recordings cannot be used.
        ReferenceModelError: The output is of another recipe or damaged, or the loss is no longer a number.
    """
    folder = TrainingFolder(run.output, recipe)
    torch.manual_seed(recipe.settings.seed)
    session = _Session(recipe, run, folder, clock)
    return session.until_the_end(report, stop)


class _Session:
    """A training that is going on."""

    def __init__(self, recipe: Recipe, run: Run, folder: TrainingFolder, clock: Callable[[], float]) -> None:
        self._recipe, self._run, self._folder, self._clock = recipe, run, folder, clock
        self._settings: TrainingSettings = recipe.settings
        self._device = _device(run.device)
        self._task: Task = recipe.task(recipe.config)
        if run.start_from is not None:
            load_into(self._task.model, read_checkpoint(run.start_from, weights_keys=_WEIGHTS_KEYS))
        self._task.to(self._device)
        self._players = dict(self._task.players())
        convention = self._task.model.description.mel
        speech, self._held_back = load_speech(run.data, convention, self._settings.held_back)
        self._check_same_held_back(self._held_back)
        self._segments = Segments(speech, convention, self._settings, self._device)
        self._segment_s = (
            self._settings.segment_frames * convention.hop_length / convention.sample_rate
        ) * self._settings.batch
        self._optimizers = {name: self._optimizer(name, player) for name, player in self._players.items()}
        self._average = MovingAverage(self._task.model, self._settings.ema_decay)
        self._step, self._spent_s = 0, 0.0
        self._total_s = run.hours * _SECONDS_PER_HOUR
        self._resume()
        self._curve = Curve(folder.curve, self._task.figures, self._step)
        self._sums: dict[str, list[Tensor]] = defaultdict(list)
        self._reported: tuple[int, float] = (self._step, self._spent_s)
        # Of the steps since the last look at it, which on a GPU waits for all of them.
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        if run.compiled:
            for player in self._players.values():
                player.compile()

    def until_the_end(
        self, report: Callable[[TrainingReport], None], stop: Callable[[], bool]
    ) -> TrainingReport:
        saved_s = evaluated_s = self._spent_s
        last = self._clock()
        while not self._over() and not stop():
            self._advance()
            now = self._clock()
            self._spent_s += min(now - last, _LONGEST_STEP_S)
            last = now
            if self._step % self._run.report_steps == 0:
                report(self._row({}))
            if self._spent_s - evaluated_s >= self._run.evaluate_s and not self._over():
                evaluated_s = saved_s = self._spent_s
                self._save()
                report(self._row(self._quality()))
                last = self._clock()
            elif self._spent_s - saved_s >= self._run.save_s:
                saved_s = self._spent_s
                self._save()
        self._save()
        final = self._row(self._quality())
        self._draw()
        report(final)
        return final

    def _advance(self) -> None:
        """One step: every turn of the task."""
        batch = self._segments.batch(self._step)
        seed = int(np.random.default_rng((self._settings.seed, self._step, 1)).integers(1 << 62))
        generator = torch.Generator().manual_seed(seed)
        for turn in self._task.turns(batch, self._step, generator, bf16=self._settings.bf16):
            self._apply(turn)
        self._average.update(self._task.model, self._step)
        self._step += 1

    def _apply(self, turn: Turn) -> None:
        player, optimizer = self._players[turn.player], self._optimizers[turn.player]
        own = self._settings.players[turn.player]
        factor = self._settings.learning_rate_factor(turn.player, self._step, self._spent_s / self._total_s)
        for group in optimizer.param_groups:
            group["lr"] = own.learning_rate * factor
        optimizer.zero_grad(set_to_none=True)
        turn.loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        norm = torch.nn.utils.clip_grad_norm_(player.parameters(), own.clip_norm)
        self._finite &= torch.isfinite(norm) & torch.isfinite(turn.loss.detach())
        if self._device.type == "cpu":
            self._require_finite()
        optimizer.step()
        for name, value in turn.figures.items():
            self._sums[name].append(value)

    def _require_finite(self) -> None:
        if not self._finite:
            raise ReferenceModelError(
                f"step {self._step}: a loss or its gradient is no longer a number; continue from the last state with a "
                "lower learning rate"
            )

    def _over(self) -> bool:
        steps = self._run.steps
        return self._spent_s >= self._total_s or (steps is not None and self._step >= steps)

    def _row(self, quality: Mapping[str, float | None]) -> TrainingReport:
        """Report, and write the curve's next row."""
        self._require_finite()
        means = {name: float(torch.stack(values).double().mean()) for name, values in self._sums.items()}
        self._sums.clear()
        share = self._spent_s / self._total_s
        factor = self._settings.learning_rate_factor("model", self._step, share)
        rate = self._settings.players["model"].learning_rate * factor
        figures = {**means, **quality}
        self._curve.add(
            {"step": self._step, "hours": self._spent_s / _SECONDS_PER_HOUR, "learning_rate": rate, **figures}
        )
        steps, seconds = self._step - self._reported[0], self._spent_s - self._reported[1]
        self._reported = (self._step, self._spent_s)
        steps_per_s = steps / seconds if seconds > 0.0 else 0.0
        return TrainingReport(
            step=self._step,
            spent_s=self._spent_s,
            total_s=self._total_s,
            steps_per_s=steps_per_s,
            audio_s_per_s=steps_per_s * self._segment_s,
            figures=figures,
        )

    def _quality(self) -> dict[str, float | None]:
        return evaluate(
            self._recipe.family, self._folder.weights, self._folder.config, self._held_back, self._device
        )

    def _draw(self) -> None:
        title = (
            f"{self._recipe.family}: {self._step:,} steps in {self._spent_s / _SECONDS_PER_HOUR:.2f} hours"
        )
        draw_curve(self._folder.curve, self._folder.path / "curve.png", title)

    def _optimizer(self, name: str, player: nn.Module) -> torch.optim.Optimizer:
        settings = self._settings
        if name not in settings.players:
            raise ReferenceModelError(
                f"the settings must define the optimizer of {name!r}, got {list(settings.players)}"
            )
        return torch.optim.AdamW(
            player.parameters(),
            lr=settings.players[name].learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=self._device.type == "cuda",
        )

    def _save(self) -> None:
        self._require_finite()
        self._folder.write_weights(self._average.tensors)
        self._folder.write_state(
            {
                "step": self._step,
                "spent_s": self._spent_s,
                "average": self._average.tensors,
                "players": {name: player.state_dict() for name, player in self._players.items()},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            }
        )

    def _resume(self) -> None:
        state = self._folder.read_state()
        if state is None:
            return
        try:
            self._step, self._spent_s = int(state["step"]), float(state["spent_s"])
            self._average.tensors = {
                name: tensor.to(self._device) for name, tensor in state["average"].items()
            }
            for name, player in self._players.items():
                player.load_state_dict(state["players"][name])
                self._optimizers[name].load_state_dict(state["optimizers"][name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ReferenceModelError(
                f"{self._folder.path}: the state is not of this training ({error}); choose another output"
            ) from error

    def _check_same_held_back(self, held_back: Sequence[Utterance]) -> None:
        """What was held back once must never be trained on when more recordings have come."""
        names = "".join(f"{utterance.name}\n" for utterance in held_back)
        place = self._folder.path / "held_back.txt"
        if place.exists() and place.read_text(encoding="utf-8") != names:
            raise ReferenceModelError(
                f"{place}: this training held back other recordings; give the same data, or another output"
            )
        place.write_text(names, encoding="utf-8")


def _device(name: str) -> torch.device:
    """The device of a name, set up for convolutions that are run again and again.

    Raises:
        ReferenceModelError: The name is none of a device, or this machine has no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ReferenceModelError(
            f"device must be one that PyTorch knows, such as cpu or cuda, got {name!r}"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ReferenceModelError(f"device must be cpu or cuda, got {name!r}; choose one of them")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ReferenceModelError(
            f"device must be one of this machine, got {name!r}, and PyTorch {torch.__version__} finds "
            f"{torch.cuda.device_count()} CUDA devices; use cpu, or install a build of PyTorch for CUDA"
        )
    return device
