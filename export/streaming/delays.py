"""The delay of each tensor of a stream and the length of its history: an integer program that minimizes the state.

Position i of a chunk of a tensor with delay D holds position i - D, counted from the beginning of the chunk. A node may
run later than its inputs allow; the inputs that it then reads from the past are part of their history. Delays are free
otherwise, so they are chosen as in the retiming of circuits (C. Leiserson and J. Saxe, Retiming synchronous circuitry,
Algorithmica 6, 1991): branches of unequal delay meet where waiting costs the least memory. The delay of the output is
the least possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from scipy import optimize, sparse

from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.reading import Reading, Rule, StreamingError

__all__ = ["Schedule", "Window", "scheduled"]

Rules = Sequence[tuple[ir.Node, Rule]]


@dataclass(frozen=True)
class Window:
    """The part of a tensor that a node reads.

    Attributes:
        history: Number of positions before the chunk at which the part begins.
        lag: Number of positions before the end of the chunk at which the part ends.
    """

    history: int
    lag: int


@dataclass(frozen=True)
class Schedule:
    """The delays and histories of a graph.

    Attributes:
        delays: Delay of each tensor, in positions of that tensor.
        histories: Number of past positions that are kept, by tensor; tensors without a history are left out. The
            output of a transparent node has none of its own.
        windows: Part of its input that each reading takes, by node and number of the reading.
    """

    delays: Mapping[ir.Value, int]
    histories: Mapping[ir.Value, int]
    windows: Mapping[tuple[ir.Node, int], Window]


def scheduled(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], rules: Rules, axes: Axes) -> Schedule:
    """Choose delays and histories.

    Args:
        inputs: The graph's inputs that hold time; their delay is 0.
        outputs: The graph's outputs; their delay is the least possible.
        rules: Nodes through which time flows with their rules, in topological order.
        axes: Time axes of the graph's tensors.

    Raises:
        StreamingError: There is no solution: a tensor that cannot be kept would need a history.
    """
    roots = _roots(rules)
    problem = _problem(inputs, outputs, rules, axes, roots)
    return _solved(problem, rules, roots)


@dataclass(frozen=True)
class _Problem:
    """The integer program of a graph, and the variables that stand for its unknowns.

    Attributes:
        program: The program, whose cost is the size of the state.
        delays: Variable of the delay of each tensor but those behind transparent nodes.
        histories: Variable of the length of the history of each tensor that a node reads.
        starts: For each reading, the delay that its node has in positions of the input: factors by variable.
    """

    program: _Program
    delays: Mapping[ir.Value, int]
    histories: Mapping[ir.Value, int]
    starts: Mapping[tuple[ir.Node, int], dict[int, int]]


def _problem(
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    rules: Rules,
    axes: Axes,
    roots: Mapping[ir.Value, ir.Value],
) -> _Problem:
    """State what delays and histories must satisfy, and that as few values as possible are kept."""
    earliest = _earliest(inputs, rules)
    program = _Program()
    delays = {value: program.variable(0, lower=0, upper=0) for value in inputs}
    histories: dict[ir.Value, int] = {}
    starts: dict[tuple[ir.Node, int], dict[int, int]] = {}
    for node, rule in rules:
        if rule.transparent:
            continue
        # All outputs of a node have one delay.
        outcome = program.variable(0)
        for value in node.outputs:
            delays[value] = outcome
            if value in outputs:
                program.fix(outcome, earliest[value])
        for number, reading in enumerate(rule.readings):
            starts[node, number] = _start(program, reading, outcome)
            root = roots[reading.value]
            if root not in histories:
                # The state holds values by utterance and position, so only [batch, ..., time] can be kept.
                axis = axes.of(root)
                kept = axis is not None and axis.axis == axis.rank - 1 and axis.shape[0] is None
                histories[root] = program.variable(
                    0 if axis is None else axis.channels, upper=None if kept else 0
                )
            late = dict(starts[node, number])
            late[delays[root]] = late.get(delays[root], 0) - 1
            # lag = start - delay - last + stride - 1 >= 0, and history >= start - delay - first
            program.at_least(late, reading.last - reading.stride + 1)
            if rule.at_once:
                program.equal(late, 0)
            wanted = {variable: -factor for variable, factor in late.items()}
            program.at_least({**wanted, histories[root]: 1}, -reading.first)
    return _Problem(program, delays, histories, starts)


def _solved(problem: _Problem, rules: Rules, roots: Mapping[ir.Value, ir.Value]) -> Schedule:
    """Solve the program and read delays, histories and windows from the solution."""
    solution = problem.program.solve()
    delays = {value: solution[variable] for value, variable in problem.delays.items()}
    for node, rule in rules:
        if rule.transparent:
            delays[node.outputs[0]] = delays[roots[node.outputs[0]]]
    windows = {}
    by_node = dict(rules)
    for (node, number), terms in problem.starts.items():
        reading = by_node[node].readings[number]
        start = sum(solution[variable] * factor for variable, factor in terms.items())
        late_by = start - delays[reading.value]
        windows[node, number] = Window(late_by - reading.first, late_by - reading.last + reading.stride - 1)
    lengths = {root: solution[variable] for root, variable in problem.histories.items() if solution[variable]}
    return Schedule(delays, lengths, windows)


def _start(program: _Program, reading: Reading, outcome: int) -> dict[int, int]:
    """The delay, in the input's positions, that the output's delay amounts to: factors by variable."""
    if reading.factor == 1:
        return {outcome: reading.stride}
    # delay = factor * steps + shift, below 0 where padding before the input takes part of the shift back
    steps = program.variable(0, lower=-math.ceil(reading.shift / reading.factor))
    program.equal({outcome: 1, steps: -reading.factor}, reading.shift)
    return {steps: 1}


def _roots(rules: Rules) -> dict[ir.Value, ir.Value]:
    """Tensor to the one before the transparent nodes that lead to it."""
    roots: dict[ir.Value, ir.Value] = {}
    for node, rule in rules:
        for reading in rule.readings:
            roots.setdefault(reading.value, reading.value)
        for value in node.outputs:
            roots[value] = roots[rule.readings[0].value] if rule.transparent else value
    return roots


def _earliest(inputs: Sequence[ir.Value], rules: Rules) -> dict[ir.Value, int]:
    """The least delay of every tensor."""
    earliest = dict.fromkeys(inputs, 0)
    for node, rule in rules:
        least, factor, shift = 0, 1, 0
        for reading in rule.readings:
            start = earliest[reading.value] + reading.last - reading.stride + 1
            if reading.factor > 1:
                factor, shift = reading.factor, reading.shift
                least = max(least, factor * start + shift)
            else:
                least = max(least, -(-start // reading.stride))
        least += (shift - least) % factor
        for value in node.outputs:
            earliest[value] = least
    return earliest


class _Program:
    """A mixed-integer linear program, gathered row by row."""

    def __init__(self) -> None:
        self._costs: list[float] = []
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._rows: list[tuple[dict[int, int], float, float]] = []

    def variable(self, cost: float, lower: int = 0, upper: int | None = None) -> int:
        """A new integer variable, at least 0."""
        self._costs.append(cost)
        self._lower.append(lower)
        self._upper.append(np.inf if upper is None else upper)
        return len(self._costs) - 1

    def fix(self, variable: int, value: int) -> None:
        self._lower[variable] = self._upper[variable] = value

    def at_least(self, terms: dict[int, int], bound: float) -> None:
        self._rows.append((terms, bound, np.inf))

    def equal(self, terms: dict[int, int], value: float) -> None:
        self._rows.append((terms, value, value))

    def solve(self) -> list[int]:
        """The cheapest solution.

        Raises:
            StreamingError: There is none.
        """
        rows, columns, entries = [], [], []
        for number, (terms, _, _) in enumerate(self._rows):
            for variable, factor in terms.items():
                rows.append(number)
                columns.append(variable)
                entries.append(float(factor))
        matrix = sparse.csr_array((entries, (rows, columns)), shape=(len(self._rows), len(self._costs)))
        result = optimize.milp(
            np.array(self._costs),
            integrality=np.ones(len(self._costs)),
            bounds=optimize.Bounds(np.array(self._lower), np.array(self._upper)),
            constraints=optimize.LinearConstraint(
                matrix, np.array([row[1] for row in self._rows]), np.array([row[2] for row in self._rows])
            ),
        )
        if result.x is None:
            raise StreamingError(
                f"no delays suit the graph ({result.message}); a tensor whose last axis is not time, or whose first is "
                "not the batch, would have to be kept"
            )
        return [round(value) for value in result.x]
