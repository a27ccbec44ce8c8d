"""What an ONNX graph may contain, checked before a library that could be attacked through it gets the graph.

A graph is a function of its inputs: standard operators over tensors that the file itself holds. Everything else that
ONNX can express is refused, since libraries would read other files (external data), load code (operators of other
domains), run without end (loops) or recurse (functions). Fields that this list does not name are refused too.
The fields are those of onnx.proto (ONNX 1.23).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from voirs_vocoder.runtime.artifact.constant_sizes import INT64, SIZING_OPERATORS, ConstantSizes
from voirs_vocoder.runtime.artifact.declared_tensors import DeclaredTensor, declared_tensor
from voirs_vocoder.runtime.artifact.wire import BYTES, VARINT, fields, packed_varints
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["MAX_RANK", "GraphRules", "check_graph", "require_onnx_format"]

MAX_RANK = 16
"""Most axes of a tensor."""

_MAX_NODES = 1 << 15
_MAX_TENSORS = 1 << 16
_DOMAINS = (b"", b"ai.onnx")
_MAX_SHOWN_BYTES = 40
# Operators whose attributes hold graphs; the attributes are refused, these names make the message clear.
_CONTROL_FLOW = (b"If", b"Loop", b"Scan", b"SequenceMap")
# ONNX Runtime takes bytes with this mark for its own format, which is another one.
_ORT_FORMAT, _ORT_FORMAT_PLACE = b"ORTM", 4
_STRING_TYPE = 8

_TOO_MANY_AXES = f"a tensor must have at most {MAX_RANK} axes, got more; export the artifact again"

# Numbers of the allowed fields by message.
_MODEL_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14))
_GRAPH_FIELDS = frozenset((1, 2, 5, 10, 11, 12, 13, 16))
_NODE_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 9))
_ATTRIBUTE_FIELDS = frozenset((1, 2, 3, 4, 5, 7, 8, 9, 13, 20))
_TENSOR_FIELDS = frozenset((1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 14, 16))
_REFUSED = {
    ("model", 20): "training information",
    ("model", 25): "functions",
    ("graph", 15): "sparse weights",
    ("attribute", 6): "a graph in an attribute, as of a loop",
    ("attribute", 11): "graphs in an attribute, as of a loop",
    ("tensor", 6): "texts in a tensor",
    ("tensor", 13): "external data",
}
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_MODEL_GRAPH, _MODEL_OPSET_IMPORT = 7, 8
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR = 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_DATA_LOCATION = 1, 2, 14


def require_onnx_format(head: bytes) -> None:
    """Refuse the format of ONNX Runtime, which is recognized by its mark alone.

    Args:
        head: The first 8 bytes of the file, or more.

    Raises:
        ArtifactError: The mark of the other format is there.
    """
    if head[_ORT_FORMAT_PLACE : _ORT_FORMAT_PLACE + len(_ORT_FORMAT)] == _ORT_FORMAT:
        raise ArtifactError("a graph must be an ONNX model, got the format of ONNX Runtime; export it again")


def check_graph(data: bytes) -> GraphRules:
    """Check an ONNX model in time linear in its length; the values of its weights are skipped.

    Args:
        data: Bytes of the model.

    Returns:
        The rules with what they found, such as the declared inputs and outputs.

    Raises:
        ArtifactError: The bytes are no ONNX model, or it contains something that is not allowed.
    """
    require_onnx_format(data[:8])
    rules = GraphRules()
    for number, kind, start, stop in fields(data):
        rules.model_field(data, number, kind, start, stop)
        if (number, kind) == (_MODEL_GRAPH, BYTES):
            for graph_field in fields(data, start, stop):
                rules.graph_field(data, *graph_field)
    rules.sizes.check()
    return rules


@dataclass
class GraphRules:
    """Checks the fields of one model as they are read.

    Attributes:
        inputs: Inputs of the graph in its order.
        outputs: Outputs of the graph in its order.
        sizes: Sizes that the graph states as constants; to be checked when the whole graph was read.
    """

    inputs: list[DeclaredTensor] = field(default_factory=list)
    outputs: list[DeclaredTensor] = field(default_factory=list)
    sizes: ConstantSizes = field(default_factory=ConstantSizes)
    _nodes: int = 0
    _tensors: int = 0

    def model_field(self, data: bytes, number: int, kind: int, start: int, stop: int) -> None:
        """Check a field of the model, but not what its graph contains.

        Args:
            data: Bytes that contain the field.
            number: Number of the field.
            kind: Kind of the field.
            start: Place of the content's first byte, or the value of a number, as `fields` yields it.
            stop: Place behind the content's last byte, as `fields` yields it.

        Raises:
            ArtifactError: The field is not allowed.
        """
        if number not in _MODEL_FIELDS:
            raise ArtifactError(_unlisted("model", number))
        if (number, kind) == (_MODEL_OPSET_IMPORT, BYTES):
            for inner, inner_kind, first, last in fields(data, start, stop):
                if (inner, inner_kind) == (1, BYTES):
                    _require_standard_domain(data[first:last])

    def graph_field(self, data: bytes, number: int, kind: int, start: int, stop: int) -> None:
        """Check a field of the graph, and everything that it contains.

        Args:
            data: Bytes that contain the field.
            number: Number of the field.
            kind: Kind of the field.
            start: Place of the content's first byte, or the value of a number, as `fields` yields it.
            stop: Place behind the content's last byte, as `fields` yields it.

        Raises:
            ArtifactError: The field or something in it is not allowed.
        """
        if number not in _GRAPH_FIELDS:
            raise ArtifactError(_unlisted("graph", number))
        if kind != BYTES:
            return
        if number == _GRAPH_NODE:
            if self._node(data, start, stop) in SIZING_OPERATORS:
                self.sizes.node(data, start, stop)
        elif number == _GRAPH_INITIALIZER:
            if self._tensor(data, start, stop) == INT64:
                self.sizes.tensor(data, start, stop)
        elif number == _GRAPH_INPUT:
            self.inputs.append(declared_tensor(data, start, stop))
        elif number == _GRAPH_OUTPUT:
            self.outputs.append(declared_tensor(data, start, stop))

    def tensor_field(self, data: bytes, number: int, kind: int, start: int, stop: int) -> None:
        """Check a field of a tensor.

        Args:
            data: Bytes that contain the field.
            number: Number of the field.
            kind: Kind of the field.
            start: Place of the content's first byte, or the value of a number, as `fields` yields it.
            stop: Place behind the content's last byte, as `fields` yields it.

        Raises:
            ArtifactError: The field is not allowed.
        """
        if number not in _TENSOR_FIELDS:
            raise ArtifactError(_unlisted("tensor", number))
        if number == _TENSOR_DATA_LOCATION and (kind, start) != (VARINT, 0):
            raise ArtifactError(_refusal("external data"))
        # The type is a number of 32 bits, of which readers drop higher ones.
        if (number, kind) == (_TENSOR_DATA_TYPE, VARINT) and start & 0xFFFFFFFF == _STRING_TYPE:
            raise ArtifactError(_refusal("texts in a tensor"))
        if (number, kind) == (_TENSOR_DIMS, BYTES):
            rank = sum(1 for _ in packed_varints(data, start, stop))
            if rank > MAX_RANK:
                raise ArtifactError(_TOO_MANY_AXES)

    def count_tensor(self) -> None:
        """Count a weight or a constant.

        Raises:
            ArtifactError: There are more than a graph may have.
        """
        self._tensors += 1
        if self._tensors > _MAX_TENSORS:
            raise ArtifactError(
                f"a graph must have at most {_MAX_TENSORS} weights, got more; export a smaller model"
            )

    def _node(self, data: bytes, start: int, stop: int) -> bytes:
        """Check a node, and name its operator."""
        operator = b""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise ArtifactError(
                f"a graph must have at most {_MAX_NODES} nodes, got more; export a smaller model"
            )
        for number, kind, first, last in fields(data, start, stop):
            if number not in _NODE_FIELDS:
                raise ArtifactError(_unlisted("node", number))
            if kind != BYTES:
                continue
            if number == _NODE_ATTRIBUTE:
                self._attribute(data, first, last)
            elif number == _NODE_DOMAIN:
                _require_standard_domain(data[first:last])
            elif number == _NODE_OP_TYPE:
                operator = data[first:last]
                if operator in _CONTROL_FLOW:
                    raise ArtifactError(_refusal(f"the operator {operator.decode()}"))
        return operator

    def _attribute(self, data: bytes, start: int, stop: int) -> None:
        for number, kind, first, last in fields(data, start, stop):
            if number not in _ATTRIBUTE_FIELDS:
                raise ArtifactError(_unlisted("attribute", number))
            if number == _ATTRIBUTE_TENSOR and kind == BYTES:
                self._tensor(data, first, last)

    def _tensor(self, data: bytes, start: int, stop: int) -> int:
        """Check a tensor, and state its element type."""
        self.count_tensor()
        rank = element_type = 0
        for number, kind, first, last in fields(data, start, stop):
            self.tensor_field(data, number, kind, first, last)
            rank += number == _TENSOR_DIMS
            if (number, kind) == (_TENSOR_DATA_TYPE, VARINT):
                # A number of 32 bits, of which readers drop higher ones.
                element_type = first & 0xFFFFFFFF
        if rank > MAX_RANK:
            raise ArtifactError(_TOO_MANY_AXES)
        return element_type


def _unlisted(message: str, number: int) -> str:
    return _refusal(_REFUSED.get((message, number), f"field {number} of a {message}"))


def _require_standard_domain(domain: bytes) -> None:
    if domain not in _DOMAINS:
        shown = domain[:_MAX_SHOWN_BYTES].decode("ascii", "backslashreplace")
        raise ArtifactError(_refusal(f"the domain {shown!r}"))


def _refusal(what: str) -> str:
    return (
        f"a graph must consist of standard operators over weights in its own file, got {what}; export the artifact "
        "again, or do not use it"
    )
