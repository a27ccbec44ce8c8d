"""From an offline graph to one that takes an utterance chunk by chunk and computes nothing twice."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from voirs_vocoder.export.passes.precision_checks import refuse_unless_plain
from voirs_vocoder.export.streaming.reading import TimeAxis
from voirs_vocoder.export.streaming.rewriting import Rewriting
from voirs_vocoder.runtime.streaming.graph_stream import BEGIN, END_FRAME, NEXT_STATE, STATE

__all__ = ["StreamingPass"]


class StreamingPass(ir.passes.InPlacePass):
    """Keeps the past of every tensor that is read across the border between chunks.

        offline                    stream
        x -> Conv(pads 3, 3)       state, x -> Concat -> Conv(no pads)      3 positions late
        x + f(x)                   Slice(Concat(state, x)) + f(x)           x waits for f
        zeros around x             x * mask(begin, end)                     where x is read beyond the utterance

    Every tensor of the result holds as many positions as its chunk, `delay` positions late.
    `voirs_vocoder.export.streaming.delays` chooses the delays.

    Args:
        axes: Time axes by tensor name, as `time_axes` finds them.
        integer_history: Whether the past of a quantized tensor is kept in integers, so that ONNX Runtime fuses the
            operators on both sides; TensorRT needs QuantizeLinear and DequantizeLinear side by side.

    Attributes:
        state_size: Number of values of the state per utterance; 0 before the pass has run.
        delays: Delay in samples by name of output; empty before the pass has run.
    """

    def __init__(self, axes: Mapping[str, TimeAxis], *, integer_history: bool = False) -> None:
        super().__init__()
        self._found = axes
        self._integer_history = integer_history
        self.state_size = 0
        self.delays: dict[str, int] = {}

    def requires(self, model: ir.Model) -> None:
        """The graph is flat, typed, of standard operators, and does not stream yet.

        Raises:
            PreconditionError: The graph is not; the message names what is wrong.
        """
        refuse_unless_plain(model, quantized=True)
        if any(value.name == STATE for value in model.graph.inputs):
            raise ir.passes.PreconditionError("the graph must be an offline one, got one with a state")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        rewriting = Rewriting(model.graph, self._found, integer_history=self._integer_history)
        rewriting.run()
        self.state_size, self.delays = rewriting.state_size, rewriting.delays
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The graph has the inputs and outputs of a stream.

        Raises:
            PostconditionError: An input or output is missing.
        """
        inputs = {value.name for value in model.graph.inputs}
        outputs = {value.name for value in model.graph.outputs}
        if not {BEGIN, END_FRAME, STATE} <= inputs or NEXT_STATE not in outputs:
            raise ir.passes.PostconditionError(
                f"a stream needs a state, got inputs {inputs}, outputs {outputs}"
            )
