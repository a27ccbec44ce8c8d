"""Writes the nodes of a stream in place of those of the offline graph."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from voirs_vocoder.export.passes.precision_checks import all_values
from voirs_vocoder.export.streaming.axes import Axes
from voirs_vocoder.export.streaming.delays import Window, scheduled
from voirs_vocoder.export.streaming.edges import Edges
from voirs_vocoder.export.streaming.masks import Masks
from voirs_vocoder.export.streaming.pairs import Pairs, pads_from_pairs
from voirs_vocoder.export.streaming.reading import Reading, Rule, StreamingError, TimeAxis, dtype_of
from voirs_vocoder.export.streaming.reflections import Reflections, pads_from_gathers
from voirs_vocoder.export.streaming.rules import graph_rules, parents, quantizer_of, zeroed_values
from voirs_vocoder.export.streaming.states import History, States
from voirs_vocoder.export.streaming.writer import END, GraphWriter
from voirs_vocoder.runtime.streaming.graph_stream import BEGIN, END_FRAME, NEXT_STATE, STATE

__all__ = ["Rewriting"]


class Rewriting:
    """One rewriting of one graph, in place.

    Each tensor of the offline graph that holds time exists in up to three forms in the stream: its past, which comes
    from the state; its chunk, which is computed now; and both joined along time. A node reads a window of one of them.

    Args:
        graph: An offline graph.
        found: Time axes by tensor name.
        integer_history: Whether the past of a quantized tensor is kept in integers.

    Attributes:
        state_size: Number of values of the state per utterance.
        delays: Delay in samples by name of output.

    Raises:
        StreamingError: The graph cannot be streamed.
    """

    def __init__(self, graph: ir.Graph, found: Mapping[str, TimeAxis], *, integer_history: bool) -> None:
        """Decide everything; nothing is changed yet but how reflections and the ends of pairs are written."""
        self._graph = graph
        pads_from_gathers(graph)
        pads_from_pairs(graph)
        self._axes = Axes.of_graph(graph, found)
        self._rules = graph_rules(graph, self._axes, integer_history=integer_history)
        self._inputs = [value for value in graph.inputs if self._axes.of(value) is not None]
        self._outputs = list(graph.outputs)
        self._schedule = scheduled(self._inputs, self._outputs, list(self._rules.items()), self._axes)
        self._parents = parents(self._rules)
        self._reach = self._reaches()
        self._zeroed = zeroed_values(graph, self._rules)
        # The names of the old values go to the new ones.
        replaced = {id(value) for node in self._rules for value in node.outputs}
        self._writer = GraphWriter(
            [value.name for value in all_values(graph) if id(value) not in replaced] + [BEGIN, END_FRAME],
            [node.name for node in graph if node not in self._rules],
        )
        self._histories = {
            value: History(
                str(value.name), self._axes.require(value), length, dtype_of(value), quantizer_of(value)
            )
            for value, length in self._schedule.histories.items()
        }
        self._states = States(self._writer, list(self._histories.values()))
        self.state_size = self._states.size
        self.delays = {str(value.name): self._schedule.delays[value] for value in self._outputs}
        # By tensor of the offline graph: its chunk, its past with the chunk behind it, and its past alone.
        self._now: dict[ir.Value, ir.Value] = {}
        self._joined: dict[ir.Value, ir.Value] = {}
        self._past: dict[ir.Value, ir.Value] = {}
        self._masks: Masks | None = None
        self._filled: dict[tuple[ir.Value, Window], ir.Value] = {}
        self._above: dict[tuple[ir.Value, ir.Value], ir.Value] = {}

    def run(self) -> None:
        """Write the stream's nodes in place of the graph's."""
        begin, end = (
            ir.Value(name=name, shape=ir.Shape(["batch"]), type=ir.TensorType(ir.DataType.INT64))
            for name in (BEGIN, END_FRAME)
        )
        state = ir.Value(
            name=STATE, shape=ir.Shape(["batch", self.state_size]), type=ir.TensorType(ir.DataType.FLOAT)
        )
        taken = self._states.take_apart(state)
        self._past = {value: taken[history] for value, history in self._histories.items()}
        # All masks of one rate are cuts of one, so their delays must be known before the first is made.
        delays = self._masked_delays()
        if delays:
            frames = self._axes.frames_of(self._inputs[0], self._writer)
            self._masks = Masks(self._writer, frames, begin, end, delays)
        for value in self._inputs:
            self._arrive(value, value)
        for node in list(self._graph):
            rule = self._rules.get(node)
            if self._axes.is_padding(node):
                continue
            if rule is None:
                self._keep(node)
            elif not rule.transparent:
                self._write(node, rule)
            # A transparent node is written when something reads its output, once for each part that is read.
        outputs = [self._visible(value) for value in self._outputs]
        buffers = {history: self._joined[value] for value, history in self._histories.items()}
        self._finish([begin, end, state], outputs, self._states.put_together(state, buffers, NEXT_STATE))

    def _masked_delays(self) -> dict[int, set[int]]:
        """Delays that masks are needed for, by rate."""
        delays = self._schedule.delays
        needed: dict[int, set[int]] = {}
        for value in self._zeroed:
            needed.setdefault(self._axes.require(value).rate, set()).add(delays[value])
        for (node, number), window in self._schedule.windows.items():
            reading = self._rules[node].readings[number]
            if _is_filled(reading):
                delay = delays[reading.value]
                rate = self._axes.require(reading.value).rate
                first, last = delay + window.history, delay + window.lag
                needed.setdefault(rate, set()).update((first, last))
                if reading.outside == "pairs":
                    needed[rate].update((first + 1, last + 1))
        return needed

    def _reaches(self) -> dict[ir.Value, int]:
        """How far into the past each tensor is read, including the outputs of transparent nodes."""
        reach: dict[ir.Value, int] = {}
        for node, rule in self._rules.items():
            for number, reading in enumerate(rule.readings):
                window = self._schedule.windows.get((node, number))
                value: ir.Value | None = reading.value
                # The output of a transparent node has no history, so the tensors before it must reach as far back.
                while window is not None and value is not None:
                    reach[value] = max(reach.get(value, 0), window.history)
                    value = self._parents.get(value)
        return reach

    def _keep(self, node: ir.Node) -> None:
        """Keep a node that no time flows through; it may still read the shape of a tensor that holds time."""
        for index, value in enumerate(node.inputs):
            if value is not None and self._axes.of(value) is not None:
                node.replace_input_with(index, self._visible(value))
        self._writer.nodes.append(node)

    def _write(self, node: ir.Node, rule: Rule) -> None:
        """Write a node with the windows that the schedule gives its readings."""
        inputs = list(node.inputs)
        for number, reading in enumerate(rule.readings):
            inputs[reading.index] = self._read(reading, self._schedule.windows[node, number])
        if rule.passes:
            source = inputs[rule.readings[0].index]
            if source is None:
                raise StreamingError(f"node {node.name!r} reads nothing")
            made = [source]
        else:
            made = self._again(node, inputs, [str(value.name) for value in node.outputs], rule)
        for value, new in zip(node.outputs, made, strict=True):
            self._arrive(value, new)

    def _again(
        self, node: ir.Node, inputs: list[ir.Value | None], names: list[str], rule: Rule
    ) -> list[ir.Value]:
        """Write a node with other inputs and the attributes that its rule changes."""
        attributes = [value for name, value in node.attributes.items() if name not in rule.attributes]
        attributes += ir.convenience.convert_attributes(rule.attributes)
        made = [ir.Value(name=self._writer.claim(name)) for name in names]
        name = self._writer.claim_node(str(node.name))
        self._writer.nodes.append(
            ir.Node(node.domain, node.op_type, inputs, attributes, outputs=made, name=name)
        )
        return made

    def _arrive(self, value: ir.Value, new: ir.Value) -> None:
        """Record the chunk of a tensor: mask it where it must be zero outside, and join it to its past."""
        if value in self._zeroed:
            new = self._masked(value, new)
        self._now[value] = new
        if value in self._past:
            inputs, axis = [self._past[value], new], self._axes.require(value).axis
            joined = self._writer.add("Concat", inputs, {"axis": axis}, name=f"{value.name}.joined")
            self._joined[value] = joined[0]

    def _masked(self, value: ir.Value, new: ir.Value) -> ir.Value:
        """The chunk of a tensor with zeros outside the utterance."""
        axis, delay, name = self._axes.require(value), self._schedule.delays[value], f"{value.name}.masked"
        if self._masks is None or axis.axis != axis.rank - 1 or axis.shape[0] is not None:
            raise StreamingError(f"{value} is read beyond the utterance, so time must be its last axis")
        quantizer = quantizer_of(value)
        if quantizer is not None:
            # The integer that stands for zero is the zero point; a product would not give it.
            mask = self._masks.of(axis, delay, ir.DataType.BOOL)
            return self._writer.add("Where", [mask, new, quantizer.inputs[2]], name=name)[0]
        mask = self._masks.of(axis, delay, dtype_of(value))
        return self._writer.add("Mul", [new, mask], name=name)[0]

    def _read(self, reading: Reading, window: Window) -> ir.Value:
        """The part of a tensor that a node reads, with what the offline graph takes for positions outside."""
        made = self._part(reading, window)
        for value in reading.above:
            if (value, made) not in self._above:
                node = value.producer()
                if node is None:
                    raise StreamingError(f"{value} must be made by a node")
                names = [f"{output.name}.part" for output in node.outputs]
                parts = self._again(node, [made, *node.inputs[1:]], names, Rule(()))
                self._above.update(
                    {(output, made): part for output, part in zip(node.outputs, parts, strict=True)}
                )
            made = self._above[value, made]
        return made

    def _part(self, reading: Reading, window: Window) -> ir.Value:
        """The part of a tensor that is read, filled outside the utterance."""
        value = reading.value
        if not _is_filled(reading) or self._masks is None:
            return self._window(value, window)
        if (value, window) not in self._filled:
            delay = self._schedule.delays[value]
            late, lag = delay + window.history, delay + window.lag
            part, axis, name = self._window(value, window), self._axes.require(value), str(value.name)
            if reading.outside == "reflect":
                filled = Reflections(self._writer, self._masks).filled(part, axis, late, lag, name)
            elif reading.outside == "pairs":
                pairs = Pairs(self._writer, self._masks)
                filled = pairs.filled(part, axis, late, lag, dtype_of(value), name)
            else:
                edges = Edges(self._writer, self._masks)
                filled = edges.filled(part, axis, late, lag, dtype_of(value), name)
            self._filled[value, window] = filled
        return self._filled[value, window]

    def _window(self, value: ir.Value, window: Window) -> ir.Value:
        """The part of a tensor that a node reads."""
        if window.history == 0 and window.lag == 0:
            return self._visible(value)
        axis = self._axes.require(value).axis
        # The joined tensor begins as early as any reader needs; this one may need less, and end before the chunk does.
        whole = self._whole(value)
        cut = self._reach[value] - window.history
        if cut == 0 and window.lag == 0:
            return whole
        end = -window.lag if window.lag else END
        return self._writer.slice(whole, cut, end, axis, name=f"{value.name}.window")

    def _whole(self, value: ir.Value) -> ir.Value:
        """A tensor with as much of its past as any node reads, before its chunk."""
        if value not in self._joined:
            parent = self._parents[value]
            history = self._reach[value]
            self._joined[value] = self._transparent(
                value, self._window(parent, Window(history, 0)), f"{value.name}.joined"
            )
        return self._joined[value]

    def _visible(self, value: ir.Value) -> ir.Value:
        """The chunk of a tensor."""
        if value not in self._now:
            parent = self._parents[value]
            if self._reach.get(value, 0):
                # The node is written for past and chunk anyway, and its output cut, rather than written twice.
                whole = self._whole(value)
                axis = self._axes.require(value).axis
                self._now[value] = self._writer.slice(
                    whole, self._reach[value], END, axis, name=str(value.name)
                )
            else:
                self._now[value] = self._transparent(value, self._visible(parent), str(value.name))
        return self._now[value]

    def _transparent(self, value: ir.Value, source: ir.Value, name: str) -> ir.Value:
        """Write the transparent node that makes a tensor once more, for another part of its input."""
        node = value.producer()
        if node is None:
            raise StreamingError(f"{value} must be made by a node")
        rule = self._rules[node]
        inputs = list(node.inputs)
        inputs[rule.readings[0].index] = source
        return self._again(node, inputs, [name], rule)[0]

    def _finish(self, inputs: list[ir.Value], outputs: list[ir.Value], next_state: ir.Value) -> None:
        """Replace the graph's nodes, add its new inputs and outputs, and give the outputs their former names."""
        graph = self._graph
        graph.remove(list(graph))
        graph.extend(self._writer.nodes)
        graph.inputs.extend(inputs)
        for constant in self._writer.constants.values():
            graph.register_initializer(constant)
        read = {value for node in self._writer.nodes for value in node.inputs if value is not None}
        # What belonged to padding and cuts, which a stream does without.
        for name in [name for name, value in graph.initializers.items() if value not in read]:
            del graph.initializers[name]
        for index, (old, new) in enumerate(zip(self._outputs, outputs, strict=True)):
            if new.producer() is None:
                raise StreamingError(f"{old} is an input of the graph")
            new.name, new.type, new.shape = old.name, old.type, old.shape
            graph.outputs[index] = new
        next_state.type, next_state.shape = inputs[-1].type, inputs[-1].shape
        graph.outputs.append(next_state)


def _is_filled(reading: Reading) -> bool:
    return reading.beyond and reading.outside != "zero"
