"""The public names of the runtime, their signatures and defaults: no change goes unnoticed.

`tests/data/public_api.txt` states them. After an intended change, write the file again and review the difference:

    python tests/contracts/test_public_api.py --write
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import enum
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import pytest

from voirs_vocoder import runtime

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "tests" / "data" / "public_api.txt"
WRITE = "python tests/contracts/test_public_api.py --write"

# What a class lets its users write, such as `with`, `for` or a call.
PROTOCOL_METHODS = frozenset(
    {
        *("__enter__", "__exit__", "__aenter__", "__aexit__"),
        *("__iter__", "__next__", "__aiter__", "__anext__"),
        *("__len__", "__contains__", "__getitem__", "__call__", "__add__", "__array__"),
    }
)


class Verbatim:
    """A text whose repr is the text itself, since `inspect.Signature` prints defaults and annotations by repr."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def annotation_text(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def value_text(value: object) -> str:
    """A default value, equal in every process and every version of Python."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({sorted(map(value_text, value))})"
    if isinstance(value, Path):
        return f"Path({str(value)!r})"
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__qualname__
    return repr(value)


def signature_text(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    parameters = [
        parameter.replace(
            annotation=empty
            if parameter.annotation is empty
            else Verbatim(annotation_text(parameter.annotation)),
            default=empty if parameter.default is empty else Verbatim(value_text(parameter.default)),
        )
        for parameter in signature.parameters.values()
    ]
    returned = signature.return_annotation
    return str(
        signature.replace(
            parameters=parameters,
            return_annotation=empty if returned is empty else Verbatim(annotation_text(returned)),
        )
    )


def function_text(name: str, function: Callable[..., object]) -> str:
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return f"{'async ' if is_async else ''}def {name}{signature_text(function)}"


def own_classes(cls: type, public: Collection[type], root: str) -> list[type]:
    """The class and those of its bases that are ours and not public themselves."""
    return [
        base
        for base in cls.__mro__
        if base is cls or (base.__module__.split(".")[0] == root and base not in public)
    ]


def visible_bases(cls: type, public: Collection[type], root: str) -> Iterator[str]:
    """Names of the bases a user may rely on; an internal base stands for its own bases."""
    for base in cls.__bases__:
        if base in public or (base.__module__.split(".")[0] != root and base is not object):
            yield base.__name__
        else:
            yield from visible_bases(base, public, root)


def field_lines(cls: type) -> Iterator[str]:
    """The fields of a dataclass or a msgspec structure, in the order of the constructor's arguments."""
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.name.startswith("_") and not field.init:
                continue
            default = ""
            if field.default is not dataclasses.MISSING:
                default = f" = {value_text(field.default)}"
            elif field.default_factory is not dataclasses.MISSING:
                default = f" = {value_text(field.default_factory)}()"
            marks = f"{'' if field.init else ' (no argument)'}{' (keyword only)' if field.kw_only else ''}"
            yield f"field {field.name}: {annotation_text(field.type)}{default}{marks}"
    elif issubclass(cls, msgspec.Struct):
        annotations: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            annotations.update(inspect.get_annotations(base))
        for field in msgspec.structs.fields(cls):
            default = ""
            if field.default is not msgspec.NODEFAULT:
                default = f" = {value_text(field.default)}"
            elif field.default_factory is not msgspec.NODEFAULT:
                default = f" = {value_text(field.default_factory)}()"
            keyword = inspect.signature(cls).parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
            marks = " (keyword only)" if keyword else ""
            yield f"field {field.name}: {annotation_text(annotations[field.name])}{default}{marks}"


def instance_attributes(cls: type) -> Iterator[str]:
    """Names of the public attributes that the class's own `__init__` sets."""
    if "__init__" not in vars(cls) or dataclasses.is_dataclass(cls):
        return
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__init__"])))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and not node.attr.startswith("_")
        ):
            yield node.attr


def member_text(name: str, member: object) -> str | None:
    if isinstance(member, classmethod):
        return f"classmethod {function_text(name, member.__func__)}"
    if isinstance(member, staticmethod):
        return f"staticmethod {function_text(name, member.__func__)}"
    if isinstance(member, (property, functools.cached_property)):
        getter = member.fget if isinstance(member, property) else member.func
        assert getter is not None
        settable = isinstance(member, property) and member.fset is not None
        returned = annotation_text(inspect.signature(getter).return_annotation)
        return f"property {name}: {returned}{' (settable)' if settable else ''}"
    return function_text(name, member) if inspect.isfunction(member) else None


def class_lines(cls: type, public: Collection[type]) -> Iterator[str]:
    root = cls.__module__.split(".")[0]
    owned = own_classes(cls, public, root)
    is_protocol = Protocol in cls.__bases__
    kind = "class"
    if dataclasses.is_dataclass(cls):
        frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        kind = "frozen dataclass" if frozen else "dataclass"
    elif issubclass(cls, msgspec.Struct):
        kind = "frozen structure" if cls.__struct_config__.frozen else "structure"
    bases = ", ".join(dict.fromkeys(visible_bases(cls, public, root)))
    yield f"{kind} {cls.__name__}({bases})" if bases else f"{kind} {cls.__name__}"
    if issubclass(cls, enum.Enum):
        yield from (f"    member {member.name} = {member.value!r}" for member in cls)
    yield from (f"    {line}" for line in field_lines(cls))
    if kind == "class" and not is_protocol and any("__init__" in vars(base) for base in owned):
        yield f"    {function_text('__init__', cls.__init__)}"  # type: ignore[misc]
    members: dict[str, object] = {}
    attributes: set[str] = set()
    for base in reversed(owned):
        members.update(vars(base))
        attributes.update(instance_attributes(base))
    yield from (f"    attribute {name}" for name in sorted(attributes))
    for name, member in sorted(members.items()):
        if not name.startswith("_") or name in PROTOCOL_METHODS:
            text = member_text(name, member)
            if text is not None:
                yield f"    {text}"


def described(values: dict[str, object]) -> str:
    """Kind, signature, fields and public members of classes and functions, by their public names."""
    public = {value for value in values.values() if inspect.isclass(value)}
    blocks = []
    for name, value in sorted(values.items()):
        if inspect.isclass(value):
            assert value.__name__ == name
            blocks.append("\n".join(class_lines(value, public)))
        elif inspect.isfunction(value):
            blocks.append(function_text(name, value))
        else:
            blocks.append(f"{name}: {type(value).__name__} = {value_text(value)}")
    return "\n\n".join(blocks) + "\n"


def public_api() -> str:
    return described({name: getattr(runtime, name) for name in runtime.__all__})


def test_the_public_names_their_signatures_and_defaults_are_those_of_the_snapshot():
    difference = "\n".join(
        difflib.unified_diff(
            SNAPSHOT.read_text(encoding="utf-8").splitlines(),
            public_api().splitlines(),
            "tests/data/public_api.txt",
            "voirs_vocoder.runtime",
            lineterm="",
        )
    )
    assert not difference, (
        f"the public API changed; if that is intended, run `{WRITE}` and note it in CHANGELOG.md:\n{difference}"
    )


def test_mel_spectrogram_is_one_function_in_both_of_its_public_places():
    from voirs_vocoder.runtime import mel

    assert mel.mel_spectrogram is runtime.mel_spectrogram


def test_no_address_and_no_order_of_a_set_enters_the_snapshot():
    assert " at 0x" not in public_api()
    assert value_text(frozenset({"b", "a"})) == "frozenset([\"'a'\", \"'b'\"])"


class Base:
    def shared(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Sample(Base):
    steps: int | None
    names: list[str] = dataclasses.field(default_factory=list)
    limit_db: float = dataclasses.field(default=-3.0, kw_only=True)
    _kept: int = dataclasses.field(default=0, init=False)

    @classmethod
    def load(cls, path: Path | str, *, strict: bool = True) -> Sample:
        return cls(int(strict))

    @property
    def frames(self) -> int:
        return 0

    async def run(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def _hidden(self) -> None: ...


class Structure(msgspec.Struct, frozen=True, kw_only=True):
    rate: int
    bands: list[int] = []


class Plain:
    def __init__(self, values: list[int]) -> None:
        self.values = values
        self._rate = 1


DESCRIPTION = """\
class Plain
    def __init__(self, values: list[int]) -> None
    attribute values

frozen dataclass Sample
    field steps: int | None
    field names: list[str] = list()
    field limit_db: float = -3.0 (keyword only)
    def __enter__(self) -> Self
    property frames: int
    classmethod def load(cls, path: Path | str, *, strict: bool = True) -> Sample
    async def run(self) -> None
    def shared(self) -> int

frozen structure Structure(Struct)
    field rate: int (keyword only)
    field bands: list[int] = list() (keyword only)
"""


def test_everything_public_of_a_class_is_described():
    assert described({"Sample": Sample, "Structure": Structure, "Plain": Plain}) == DESCRIPTION


def default_changed(steps: int = 3) -> None: ...


def argument_renamed(count: int = 2) -> None: ...


def argument_added(steps: int = 2, *, seed: int | None = None) -> None: ...


def result_changed(steps: int = 2) -> int:
    return steps


@pytest.mark.parametrize(
    "changed", [default_changed, argument_renamed, argument_added, result_changed], ids=lambda f: f.__name__
)
def test_a_planted_change_of_a_signature_changes_the_description(changed):
    def original(steps: int = 2) -> None: ...

    assert described({"f": changed}) != described({"f": original})


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {WRITE}")
    SNAPSHOT.write_text(public_api(), encoding="utf-8")
