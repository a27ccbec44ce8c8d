"""From an offline graph to one that takes an utterance chunk by chunk and computes nothing twice."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from voirs_vocoder.export.passes.precision_checks import all_values, refuse_unless_plain
from voirs_vocoder.export.streaming.delays import Schedule, Window, scheduled
from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.operators import Axes, rule_of
from voirs_vocoder.export.streaming.reading import Rule, StreamingError, TimeAxis
from voirs_vocoder.export.streaming.states import History, States
from voirs_vocoder.export.streaming.writer import END, GraphWriter

__all__ = ["BEGIN", "END_FRAME", "NEXT_STATE", "STATE", "StreamingPass"]

BEGIN, END_FRAME, STATE, NEXT_STATE = "begin", "end", "state", "next_state"


class StreamingPass(ir.passes.InPlacePass):
    """Keeps the past of every tensor that is read across the border between chunks.

        offline                    stream
        x -> Conv(pads 3, 3)       state, x -> Concat -> Conv(no pads)      3 positions late
        x + f(x)                   Slice(Concat(state, x)) + f(x)           x waits for f
        zeros around x             x * mask(begin, end)                     where x is read beyond the utterance

    Every tensor of the result holds as many positions as its chunk has, `delay` of them late. See
    `voirs_vocoder.export.streaming.delays` for how the delays are chosen.

    Args:
        axes: Tensor name to its time axis, as `time_axes` finds it.
        masked: Whether the utterance may begin or end within the chunk. Without masks the graph is for chunks in the
            middle of an utterance: `begin` and `end` are not looked at.
        integer_history: Whether the past of a quantized tensor is kept in integers, so that ONNX Runtime fuses what
            stands on both sides; TensorRT wants QuantizeLinear and DequantizeLinear side by side.

    Attributes:
        state_size: Values of the state per utterance, once the pass has run.
        delays: Output name to its delay in samples, likewise.
    """

    def __init__(
        self, axes: Mapping[str, TimeAxis], *, masked: bool = True, integer_history: bool = False
    ) -> None:
        """See the class."""
        super().__init__()
        self._found = axes
        self._masked = masked
        self._integer_history = integer_history
        self.state_size = 0
        self.delays: dict[str, int] = {}

    def requires(self, model: ir.Model) -> None:
        """The graph is plain and does not stream yet.

        Raises:
            PreconditionError: It is not.
        """
        refuse_unless_plain(model, quantized=True)
        if any(value.name == STATE for value in model.graph.inputs):
            raise ir.passes.PreconditionError("the graph must be an offline one, got one with a state")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        _Rewriting(self, model.graph, self._found, self._masked, self._integer_history).run()
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The graph has the inputs and outputs of a stream.

        Raises:
            PostconditionError: It has not.
        """
        inputs = {value.name for value in model.graph.inputs}
        outputs = {value.name for value in model.graph.outputs}
        if not {BEGIN, END_FRAME, STATE} <= inputs or NEXT_STATE not in outputs:
            raise ir.passes.PostconditionError(
                f"a stream needs a state, got inputs {inputs}, outputs {outputs}"
            )


class _Rewriting:
    """One run of the pass over one graph."""

    def __init__(
        self,
        result: StreamingPass,
        graph: ir.Graph,
        found: Mapping[str, TimeAxis],
        masked: bool,
        integer_history: bool,
    ) -> None:
        self._result = result
        self._graph = graph
        self._masked = masked
        self._axes = Axes(found, _padded(graph, found))
        self._rules: dict[ir.Node, Rule] = {}
        for node in graph:
            if node.op_type == "Pad" and node.outputs[0] in self._axes.padded:
                continue
            rule = rule_of(node, self._axes, integer_history=integer_history)
            if rule is not None:
                self._rules[node] = rule
        self._schedule = self._scheduled()
        self._parents = {
            node.outputs[0]: rule.readings[0].value for node, rule in self._rules.items() if rule.transparent
        }
        self._reach = self._reaches()
        # Names of the old values go to the new ones, whose nodes replace theirs.
        replaced = {id(value) for node in self._rules for value in node.outputs}
        kept_nodes = [node for node in graph if node not in self._rules]
        self._writer = GraphWriter(
            [value.name for value in all_values(graph) if id(value) not in replaced] + [BEGIN, END_FRAME],
            [node.name for node in kept_nodes],
        )
        self._now: dict[ir.Value, ir.Value] = {}
        self._joined: dict[ir.Value, ir.Value] = {}
        self._past: dict[ir.Value, ir.Value] = {}
        self._masks: Masks | None = None

    def run(self) -> None:
        graph, writer = self._graph, self._writer
        begin, end = (
            ir.Value(name=name, shape=ir.Shape(["batch"]), type=ir.TensorType(ir.DataType.INT64))
            for name in (BEGIN, END_FRAME)
        )
        histories = {
            value: History(str(value.name), self._axis(value), length, _dtype(value), _quantizer(value))
            for value, length in self._schedule.histories.items()
        }
        states = States(writer, list(histories.values()))
        state = ir.Value(
            name=STATE, shape=ir.Shape(["batch", states.size]), type=ir.TensorType(ir.DataType.FLOAT)
        )
        taken = states.take_apart(state)
        self._past = {value: taken[history] for value, history in histories.items()}
        masked = self._masked_values()
        if masked:
            self._masks = Masks(writer, self._frames(), begin, end, masked_delays(self, masked))
        old_outputs = list(graph.outputs)
        inputs = [value for value in graph.inputs if self._axes.of(value) is not None]
        for value in inputs:
            self._arrive(value, value, value in masked)
        for node in list(graph):
            rule = self._rules.get(node)
            if node.op_type == "Pad" and node.outputs[0] in self._axes.padded:
                continue
            if rule is None:
                self._keep(node)
            elif not rule.transparent:
                self._write(node, rule, masked)
        outputs = [self._visible(value) for value in old_outputs]
        states.put_together(
            {history: self._joined[value] for value, history in histories.items()}, NEXT_STATE
        )
        next_state = writer.nodes[-1].outputs[0]
        self._finish([begin, end, state], old_outputs, outputs, next_state)
        self._result.state_size = states.size
        self._result.delays = {str(value.name): self._schedule.delays[value] for value in old_outputs}

    def delay(self, value: ir.Value) -> int:
        return self._schedule.delays[value]

    def axis(self, value: ir.Value) -> TimeAxis:
        return self._axis(value)

    def _scheduled(self) -> Schedule:
        graph = self._graph
        inputs = [value for value in graph.inputs if self._axes.of(value) is not None]
        return scheduled(inputs, list(graph.outputs), list(self._rules.items()), self._axes)

    def _axis(self, value: ir.Value) -> TimeAxis:
        axis = self._axes.of(value)
        if axis is None:
            raise StreamingError(f"{value} must hold time")
        return axis

    def _reaches(self) -> dict[ir.Value, int]:
        """How far into the past each tensor is read, those behind transparent nodes included."""
        reach: dict[ir.Value, int] = {}
        for node, rule in self._rules.items():
            for number, reading in enumerate(rule.readings):
                window = self._schedule.windows.get((node, number))
                value: ir.Value | None = reading.value
                while window is not None and value is not None:
                    reach[value] = max(reach.get(value, 0), window.history)
                    value = self._parents.get(value)
        return reach

    def _masked_values(self) -> set[ir.Value]:
        """Tensors that are read beyond the utterance and are not known to be zero there."""
        if not self._masked:
            return set()
        wanted: set[ir.Value] = set()
        for rule in self._rules.values():
            for reading in rule.readings:
                if reading.beyond:
                    value = reading.value
                    while value in self._parents:
                        value = self._parents[value]
                    wanted.add(value)
        zero: set[ir.Value] = set()
        masked = {value for value in self._graph.inputs if value in wanted}
        zero |= masked
        for node, rule in self._rules.items():
            known = [reading.value in zero for reading in rule.readings]
            zeros = {"any": any(known), "all": all(known), "never": False}[rule.zeros]
            for value in node.outputs:
                if zeros or value in wanted:
                    zero.add(value)
                if value in wanted and not zeros:
                    masked.add(value)
        return masked

    def _frames(self) -> ir.Value:
        """int64 [1]: the mel frames of the chunk."""
        writer = self._writer
        value = next(value for value in self._graph.inputs if self._axes.of(value) is not None)
        axis = self._axis(value)
        attributes = {"start": axis.axis, "end": axis.axis + 1}
        (size,) = writer.add("Shape", [value], attributes, name="chunk.positions")
        if axis.rate == 1:
            return size
        return writer.add("Div", [size, writer.integers(axis.rate)], name="chunk.frames")[0]

    def _keep(self, node: ir.Node) -> None:
        """A node that no time flows through; it may still ask for the shape of what has it."""
        for index, value in enumerate(node.inputs):
            if value is not None and self._axes.of(value) is not None:
                node.replace_input_with(index, self._visible(value))
        self._writer.nodes.append(node)

    def _write(self, node: ir.Node, rule: Rule, masked: set[ir.Value]) -> None:
        inputs = list(node.inputs)
        for number, reading in enumerate(rule.readings):
            inputs[reading.index] = self._window(reading.value, self._schedule.windows[node, number])
        if rule.passes:
            source = inputs[rule.readings[0].index]
            if source is None:
                raise StreamingError(f"node {node.name!r} reads nothing")
            made = [source]
        else:
            made = self._again(node, inputs, [str(value.name) for value in node.outputs], rule)
        for value, new in zip(node.outputs, made, strict=True):
            self._arrive(value, new, value in masked)

    def _again(
        self, node: ir.Node, inputs: list[ir.Value | None], names: list[str], rule: Rule
    ) -> list[ir.Value]:
        """A node with other inputs, and what the rule changes of it."""
        attributes = [value for name, value in node.attributes.items() if name not in rule.attributes]
        attributes += ir.convenience.convert_attributes(rule.attributes)
        made = [ir.Value(name=self._writer.claim(name)) for name in names]
        name = self._writer.claim_node(str(node.name))
        self._writer.nodes.append(
            ir.Node(node.domain, node.op_type, inputs, attributes, outputs=made, name=name)
        )
        return made

    def _arrive(self, value: ir.Value, new: ir.Value, masked: bool) -> None:
        """A tensor is there: mask it, and join it to its past."""
        if masked:
            new = self._zeroed(value, new)
        self._now[value] = new
        if value in self._past:
            name = f"{value.name}.joined"
            inputs = [self._past[value], new]
            (self._joined[value],) = self._writer.add(
                "Concat", inputs, {"axis": self._axis(value).axis}, name=name
            )

    def _zeroed(self, value: ir.Value, new: ir.Value) -> ir.Value:
        axis, dtype, name = self._axis(value), _dtype(value), f"{value.name}.masked"
        if self._masks is None or axis.axis != axis.rank - 1 or axis.shape[0] is not None:
            raise StreamingError(f"{value} is read beyond the utterance, so time must be its last axis")
        quantizer = _quantizer(value)
        if quantizer is not None:
            mask = self._masks.of(axis, self.delay(value), ir.DataType.BOOL)
            return self._writer.add("Where", [mask, new, quantizer.inputs[2]], name=name)[0]
        mask = self._masks.of(axis, self.delay(value), dtype)
        return self._writer.add("Mul", [new, mask], name=name)[0]

    def _window(self, value: ir.Value, window: Window) -> ir.Value:
        """The part of a tensor that a node reads."""
        if window.history == 0 and window.lag == 0:
            return self._visible(value)
        axis = self._axis(value).axis
        whole = self._whole(value)
        cut = self._reach[value] - window.history
        if cut == 0 and window.lag == 0:
            return whole
        end = -window.lag if window.lag else END
        return self._writer.slice(whole, cut, end, axis, name=f"{value.name}.window")

    def _whole(self, value: ir.Value) -> ir.Value:
        """A tensor with as much of its past as anything reads."""
        if value not in self._joined:
            parent = self._parents[value]
            history = self._reach[value]
            self._joined[value] = self._transparent(
                value, self._window(parent, Window(history, 0)), f"{value.name}.joined"
            )
        return self._joined[value]

    def _visible(self, value: ir.Value) -> ir.Value:
        """A tensor's chunk."""
        if value not in self._now:
            parent = self._parents[value]
            if self._reach.get(value, 0):
                whole = self._whole(value)
                axis = self._axis(value).axis
                self._now[value] = self._writer.slice(
                    whole, self._reach[value], END, axis, name=str(value.name)
                )
            else:
                self._now[value] = self._transparent(value, self._visible(parent), str(value.name))
        return self._now[value]

    def _transparent(self, value: ir.Value, source: ir.Value, name: str) -> ir.Value:
        """What the transparent node that makes a tensor makes of another part of its input."""
        node = value.producer()
        if node is None:
            raise StreamingError(f"{value} must be made by a node")
        rule = self._rules[node]
        inputs = list(node.inputs)
        inputs[rule.readings[0].index] = source
        return self._again(node, inputs, [name], rule)[0]

    def _finish(
        self,
        inputs: list[ir.Value],
        old_outputs: list[ir.Value],
        outputs: list[ir.Value],
        next_state: ir.Value,
    ) -> None:
        graph = self._graph
        graph.remove(list(graph))
        graph.extend(self._writer.nodes)
        graph.inputs.extend(inputs)
        for constant in self._writer.constants.values():
            graph.register_initializer(constant)
        for index, (old, new) in enumerate(zip(old_outputs, outputs, strict=True)):
            if new.producer() is None:
                raise StreamingError(f"{old} is an input of the graph")
            new.name, new.type, new.shape = old.name, old.type, old.shape
            graph.outputs[index] = new
        next_state.name = NEXT_STATE
        next_state.type = ir.TensorType(ir.DataType.FLOAT)
        next_state.shape = inputs[-1].shape
        graph.outputs.append(next_state)


def masked_delays(rewriting: _Rewriting, masked: set[ir.Value]) -> dict[int, set[int]]:
    """Rate to the delays of the tensors that are masked at it."""
    delays: dict[int, set[int]] = {}
    for value in masked:
        delays.setdefault(rewriting.axis(value).rate, set()).add(rewriting.delay(value))
    return delays


def _padded(graph: ir.Graph, found: Mapping[str, TimeAxis]) -> dict[ir.Value, tuple[ir.Value, int]]:
    """Pads along time: the tensor below each, and the zeros before it."""
    padded = {}
    for node in graph:
        value = node.inputs[0] if node.inputs else None
        axis = None if value is None else found.get(str(value.name))
        if node.op_type != "Pad" or value is None or axis is None:
            continue
        counts = None if node.inputs[1] is None else ir.convenience.get_const_tensor(node.inputs[1])
        mode = node.attributes.get("mode")
        if counts is None or (mode is not None and mode.as_string() != "constant") or len(node.inputs) > 2:
            raise StreamingError(f"node {node.name!r} (Pad): it must add zeros, as many as a constant says")
        numbers = counts.numpy().tolist()
        before, after = numbers[axis.axis], numbers[axis.axis + axis.rank]
        if sum(numbers) != before + after or min(numbers) < 0:
            raise StreamingError(f"node {node.name!r} (Pad): it must pad time alone")
        padded[node.outputs[0]] = (value, before)
    return padded


def _dtype(value: ir.Value) -> ir.DataType:
    if value.dtype is None:
        raise StreamingError(f"{value} must have a type")
    return value.dtype


def _quantizer(value: ir.Value) -> ir.Node | None:
    node = value.producer()
    return node if node is not None and node.op_type == "QuantizeLinear" else None
