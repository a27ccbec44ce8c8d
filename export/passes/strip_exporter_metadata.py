"""Removes the traces of the machine and the moment of export that an exporter leaves in a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

__all__ = ["StripExporterMetadataPass"]

_PRODUCER = "voirs-vocoder"
_TELLTALE_FIELDS = frozenset({"doc_string", "metadata_props"})


class StripExporterMetadataPass(ir.passes.InPlacePass):
    """Clears metadata and doc strings at every level, and names a producer without a version.

    torch's dynamo exporter writes the stack trace of each operator, source paths included, into node
    metadata, and simplifiers describe their own run in the model's. Tool versions belong in an artifact's
    manifest: in the graph they would change its bytes. Model-level metadata is removed too, so
    `SetModelMetadataPass` runs afterwards.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Strip in place."""
        ClearMetadataAndDocStringPass()(model)
        model.producer_name, model.producer_version = _PRODUCER, None
        model.domain, model.model_version = None, None
        model.doc_string = None
        model.metadata_props.clear()
        for function in model.functions.values():
            function.doc_string = None
            function.metadata_props.clear()
        for graph in model.graphs():
            graph.doc_string = None
            graph.metadata_props.clear()
            for value in _values(graph):
                value.doc_string = None
                value.metadata_props.clear()
            for value in graph.initializers.values():
                tensor = value.const_value
                if tensor is not None and tensor.dtype != ir.DataType.STRING:
                    value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
            # The pass above clears nodes, not what their attributes and values state.
            for node in graph:
                for attribute in node.attributes.values():
                    attribute.doc_string = None
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """No message of the serialized model, at any depth, has a doc string or metadata.

        Raises:
            PostconditionError: A message has a doc string or metadata.
        """
        found = sorted(set(_telltales(ir.to_proto(model), "model")))
        if found:
            raise ir.passes.PostconditionError(
                f"no metadata may remain in a stripped graph, got {found[:5]}; report the model"
            )


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _telltales(message: Any, path: str) -> Iterator[str]:
    """Paths of the fields below a protobuf message that carry a doc string or metadata."""
    for descriptor, content in message.ListFields():
        here = f"{path}.{descriptor.name}"
        if descriptor.name in _TELLTALE_FIELDS:
            yield here
        elif descriptor.message_type is not None:
            for child in content if isinstance(content, Sequence) else [content]:
                yield from _telltales(child, here)
