"""Sizes that a graph states as constants: a tensor that is made from one must not be larger than any vocoder needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from voirs_vocoder.runtime.artifact.wire import BYTES, VARINT, fields, packed_varints
from voirs_vocoder.runtime.errors import ArtifactError

__all__ = ["INT64", "SIZING_OPERATORS", "ConstantSizes"]

INT64 = 7
"""Element type of the tensors whose values may be sizes, onnx.TensorProto.INT64."""

_MAX_ELEMENTS = 1 << 28
# Operators whose output has the size that the numbers of an input state, and the place of that input.
_SIZED = {b"ConstantOfShape": 0, b"Expand": 1, b"Tile": 1, b"Pad": 1}
SIZING_OPERATORS = frozenset((*_SIZED, b"Constant"))
"""Operators that make a size, or a tensor of one."""

_MAX_RANK = 16
_INT64_BYTES = 8
_DATA_TYPE, _INT64_DATA, _NAME, _RAW_DATA = 2, 7, 8, 9
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 5, 8


@dataclass
class ConstantSizes:
    """Collects the sizes of one graph as its nodes and tensors are read, in any order."""

    _constants: dict[bytes, int] = field(default_factory=dict)
    _wanted: dict[bytes, bytes] = field(default_factory=dict)

    def node(self, data: bytes, start: int, stop: int) -> None:
        """Note a node that makes a constant, or a tensor whose size a constant states.

        Args:
            data: Bytes that contain the node.
            start: Place of its first byte.
            stop: Place behind its last byte.
        """
        content = [each for each in fields(data, start, stop) if each[1] == BYTES]
        # Of a field that is there several times, readers take the last one.
        operator = [data[first:last] for number, _, first, last in content if number == _NODE_OP_TYPE][-1]
        if operator in _SIZED:
            inputs = [data[first:last] for number, _, first, last in content if number == _NODE_INPUT]
            if len(inputs) > _SIZED[operator]:
                self._wanted[inputs[_SIZED[operator]]] = operator
        else:
            outputs = [data[first:last] for number, _, first, last in content if number == _NODE_OUTPUT]
            for number, _, first, last in content:
                if number == _NODE_ATTRIBUTE and outputs:
                    self._attribute(outputs[0], data, first, last)

    def tensor(self, data: bytes, start: int, stop: int, name: bytes | None = None) -> None:
        """Note a tensor of few 64-bit integers.

        Args:
            data: Bytes that contain the tensor.
            start: Place of its first byte.
            stop: Place behind its last byte.
            name: Name of the tensor; None takes the one that it states.
        """
        values: list[int] = []
        stated_name = None
        for number, kind, first, last in fields(data, start, stop):
            # A number of 32 bits, of which readers drop higher ones.
            if (number, kind) == (_DATA_TYPE, VARINT) and first & 0xFFFFFFFF != INT64:
                return
            if (number, kind) == (_NAME, BYTES):
                stated_name = data[first:last]
            elif (number, kind) == (_INT64_DATA, VARINT):
                values.append(first)
            elif kind == BYTES and number in (_INT64_DATA, _RAW_DATA) and last - first <= _MAX_RANK * 10:
                raw = number == _RAW_DATA
                values += _raw(data[first:last]) if raw else packed_varints(data, first, last)
        name = name or stated_name
        if name is not None:
            self._note(name, values)

    def check(self) -> None:
        """Compare what was collected.

        Raises:
            ArtifactError: A node makes a tensor of more than 2**28 values for any input.
        """
        for name, operator in self._wanted.items():
            if self._constants.get(name, 0) > _MAX_ELEMENTS:
                raise ArtifactError(
                    f"a graph must not make a tensor of more than {_MAX_ELEMENTS} values for any input, "
                    f"{operator.decode()} makes one of {self._constants[name]}; export the artifact again, or do "
                    "not use it"
                )

    def _attribute(self, name: bytes, data: bytes, start: int, stop: int) -> None:
        values: list[int] = []
        for number, kind, first, last in fields(data, start, stop):
            if (number, kind) == (_ATTRIBUTE_TENSOR, BYTES):
                self.tensor(data, first, last, name)
                return
            if (number, kind) == (_ATTRIBUTE_INTS, VARINT):
                values.append(first)
            elif (number, kind) == (_ATTRIBUTE_INTS, BYTES) and last - first <= _MAX_RANK * 10:
                values += packed_varints(data, first, last)
        self._note(name, values)

    def _note(self, name: bytes, values: list[int]) -> None:
        if not 0 < len(values) <= 2 * _MAX_RANK:
            return
        product = 1
        for value in values:
            # 0 copies a size in some operators, and negative numbers are lengths to be cut.
            product *= value if 0 < value < 1 << 63 else 1
        self._constants[name] = product


def _raw(content: bytes) -> list[int]:
    whole = len(content) // _INT64_BYTES * _INT64_BYTES
    return [
        int.from_bytes(content[place : place + _INT64_BYTES], "little")
        for place in range(0, whole, _INT64_BYTES)
    ]
