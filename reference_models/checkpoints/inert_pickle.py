"""Pickles read without executing anything: a stack machine that builds plain values and known stand-ins, nothing else.

Python's own unpickler calls what a pickle names, sets attributes of what it finds, and hashes keys of any depth. Here
a name stands for a value that the caller decides, and only a `Maker` is ever called. Opcodes are those of Python's
pickletools.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from voirs_vocoder.reference_models.errors import CheckpointError

__all__ = ["Forgotten", "Maker", "Shell", "load_inert", "shown"]

MAX_PICKLE_BYTES = 64 << 20
_MAX_OPCODES = 2_000_000
_MAX_SHOWN = 80
_MAX_ARGUMENTS = 16


class Shell:
    """What is left of a pickled object whose attributes matter.

    Attributes:
        attributes: Attributes by name, as the pickle states them.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, object] = {}


class Forgotten:
    """What is left of an object that no weight depends on, such as a NumPy number beside the weights."""


@dataclass(frozen=True)
class Maker:
    """A name that a pickle may call.

    Attributes:
        make: Function of the pickled arguments; it returns the value that takes the place of the object.
    """

    make: Callable[..., object]


def shown(text: object) -> str:
    """A name from a file as an error shows it: printable ASCII of at most 80 characters."""
    printable = ascii(text if isinstance(text, str | int) else type(text).__name__).strip("'\"")
    return printable if len(printable) <= _MAX_SHOWN else f"{printable[:_MAX_SHOWN]}..."


def load_inert(
    stream: IO[bytes], named: Callable[[str, str], object], stored: Callable[[object], object]
) -> object:
    """Read one pickle.

    Args:
        stream: Stream at the start of the pickle; it is left behind the end of it.
        named: Value that stands for the name of a module and the name of an object in it.
        stored: Value that stands for a persistent identifier.

    Returns:
        The value. Sets become lists. Entries of dictionaries whose key is no text, number or None are left out.

    Raises:
        CheckpointError: The pickle is too large or asks for what no checkpoint needs.
        Exception: The pickle is broken; the type of the exception depends on where.
    """
    machine = _Machine(named, stored)
    start = stream.tell()
    for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
        if count >= _MAX_OPCODES or (position or start) - start > MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"refused, the pickle around the weights is larger than {MAX_PICKLE_BYTES} bytes or "
                f"{_MAX_OPCODES} operations; save the state dict alone, best as safetensors"
            )
        # Python's unpickler would make room for the largest index that is named.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > count:
            raise CheckpointError("refused, the pickle numbers its objects in leaps; save the weights again")
        machine.step(opcode.name, argument)
    (value,) = machine.stack
    return value


_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
}
_IGNORED = {"PROTO", "FRAME", "STOP"}
_LITERAL = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    def __init__(self, named: Callable[[str, str], object], stored: Callable[[object], object]) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._named, self._stored = named, stored

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode; a broken pickle raises exceptions of any type."""
        stack = self.stack
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name.endswith(("PUT", "MEMOIZE")):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(self._named(*argument.split(" ", 1)))
        elif name in _LITERAL:
            stack.append(argument)
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif (operation := getattr(self, f"_{name.lower()}", None)) is not None:
            operation()
        else:
            raise CheckpointError(f"refused, the pickle has the operation {name}, which no checkpoint needs")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _mark(self) -> None:
        self._marks.append(len(self.stack))

    def _pop(self) -> None:
        if self._marks and self._marks[-1] == len(self.stack):
            self._marks.pop()
        else:
            self.stack.pop()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _tuple(self, count: int | None = None) -> None:
        values = self._since_mark() if count is None else [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(values))

    def _frozenset(self) -> None:
        self.stack.append(self._since_mark())

    def _list(self) -> None:
        self.stack.append(self._since_mark())

    def _dict(self) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _additems(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self) -> None:
        self._set(self._since_mark())

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            # The hash of nested tuples can take longer than the universe lasts.
            plain = (str, bytes, int, float, type(None))
            target.update(
                (key, value)
                for key, value in zip(values[::2], values[1::2], strict=True)
                if isinstance(key, plain)
            )

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("refused, the pickle names a class by what is no text")
        self.stack.append(self._named(module, name))

    def _reduce(self) -> None:
        arguments, maker = self.stack.pop(), self.stack.pop()
        self.stack.append(_made(maker, arguments))

    _newobj = _reduce

    def _newobj_ex(self) -> None:
        self.stack.pop()
        self._reduce()

    def _obj(self) -> None:
        maker, *arguments = self._since_mark()
        self.stack.append(_made(maker, arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Shell):
            target.attributes = state if isinstance(state, dict) else {}

    def _binpersid(self) -> None:
        self.stack.append(self._stored(self.stack.pop()))


def _made(maker: object, arguments: Any) -> object:
    if not isinstance(maker, Maker):
        raise CheckpointError(f"refused, the pickle calls what is no function ({shown(maker)})")
    # A pickle can name the same long arguments any number of times.
    if len(arguments) > _MAX_ARGUMENTS:
        raise CheckpointError(f"refused, the pickle calls a function with {len(arguments)} arguments")
    return maker.make(*arguments)
