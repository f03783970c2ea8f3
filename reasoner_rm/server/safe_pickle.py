"""A pickle of plain data, read without running it.

Unpickling calls whatever the bytes name. Even an ``Unpickler`` that admits few names lets them size its memo (gigabytes
from ten bytes), and numpy's ``__setstate__`` believes what they say about memory. Nothing is called here: the few names
that an array of numpy's needs stand for themselves, and what they would have made of their arguments is kept as it was
written; every other name is refused.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass
from typing import Any

OPCODES = 100_000
"""More than any batch of images and prompts needs; it bounds the time."""
TEXTS = 1000
"""Texts of one list. A list may hold one long text many times, and every time it is decoded anew."""

_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NAMES = re.compile(r"numpy\.(?:_?core\.(?:multiarray|numeric)\.)?(ndarray|dtype|scalar|_reconstruct|_frombuffer)")
"""Of numpy 1 and 2."""


@dataclass(slots=True, frozen=True)
class Name:
    """Something of numpy's that a pickle would have imported."""

    of: str

    @classmethod
    def checked(cls, path: str) -> Name:
        """Raises:
        ValueError: a name that no array of texts needs.
        """
        known = _NAMES.fullmatch(path)
        if known is None:
            raise ValueError(f"it names {path[:60]!r}")
        return cls(known[1])


@dataclass(slots=True, eq=False)
class PickledCall:
    """What a pickle would have made by a call, and the state that it would have been given."""

    by: str
    args: tuple[Any, ...]
    state: Any = None


def read(data: bytes) -> Any:
    """Numbers, texts, bytes, lists, tuples, dicts by text, and arrays of numpy's as `Made`, of protocol 3 or later.

    Raises:
        ValueError: no pickle, a broken one, one that holds more, or too many parts.
    """
    machine = _Machine()
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(data)):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if count == OPCODES:
                raise ValueError(f"more than {OPCODES} parts")
            machine.step(opcode.name, value)
    except (LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"broken ({type(error).__name__})") from None
    raise ValueError("no end")


def texts(value: Any) -> list[str]:
    """The texts in a list, a tuple, or an array of numpy that was pickled.

    Raises:
        ValueError: anything else, or more than `TEXTS`.
    """
    match value:
        case list() | tuple() if len(value) <= TEXTS:
            return [text for item in value for text in ([item] if isinstance(item, str) else _scalar(item))]
        case PickledCall("_reconstruct", state=(_, _, _, _, list() as items)):
            return texts(items)
        case PickledCall("_reconstruct", state=(_, _, dtype, _, bytes() as raw)):
            return _decoded(dtype, raw)
        case PickledCall("_frombuffer", (bytes() | bytearray() as raw, dtype, _, _)):
            return _decoded(dtype, bytes(raw))
    raise ValueError("not a list of texts")


class _Machine:
    """What a pickle's opcodes work on: values, those that wait below a mark, and those that may be fetched again."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, value: Any) -> None:
        match name:
            case "PROTO" | "FRAME":
                return
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self.memo[value] = self.stack[-1]
            case "APPEND" | "APPENDS":
                items = [self.stack.pop()] if name == "APPEND" else self._marked()
                _only(list, self.stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [self.stack.pop(-2), self.stack.pop()] if name == "SETITEM" else self._marked()
                keys = [_only(str, key) for key in items[::2]]
                _only(dict, self.stack[-1]).update(zip(keys, items[1::2], strict=True))
            case "BUILD":
                state = self.stack.pop()
                _only(PickledCall, self.stack[-1]).state = state
            case _:
                made = self._made(name, value)  # first: it may take what is below
                self.stack.append(made)

    def _made(self, name: str, value: Any) -> Any:
        match name:
            case _ if name in _VALUES:
                return value
            case _ if name in _CONSTANTS:
                return _CONSTANTS[name]
            case _ if name in _TUPLES:
                return tuple([self.stack.pop() for _ in range(_TUPLES[name])][::-1])
            case "TUPLE":
                return tuple(self._marked())
            case "EMPTY_LIST":
                return []
            case "EMPTY_DICT":
                return {}
            case "BINGET" | "LONG_BINGET":
                return self.memo[value]
            case "GLOBAL":
                return Name.checked(value.replace(" ", "."))
            case "STACK_GLOBAL":
                attribute, module = self.stack.pop(), self.stack.pop()
                return Name.checked(f"{_only(str, module)}.{_only(str, attribute)}")
            case "REDUCE":
                args, by = self.stack.pop(), self.stack.pop()
                return PickledCall(_only(Name, by).of, _only(tuple, args))
        raise ValueError(f"{name} is no plain data")

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items


def _only(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _scalar(value: Any) -> list[str]:
    """A `numpy.str_`, whose width is its length."""
    match value:
        case PickledCall("scalar", (dtype, bytes() as raw)):
            return _decoded(dtype, raw, most=1) or [""]
    raise ValueError("not a list of texts")


def _decoded(dtype: Any, raw: bytes, most: int = TEXTS) -> list[str]:
    """The texts of a numpy array of `U`: UTF-32, each as wide as the widest."""
    match dtype:
        case PickledCall("dtype", (str() as kind, *_), (_, str() as order, *_)) if re.fullmatch(r"U\d{1,5}", kind):
            width = max(1, int(kind[1:]))
            if len(raw) <= 4 * width * most:
                text = raw.decode("utf-32-be" if order == ">" else "utf-32-le")
                return [text[start : start + width].rstrip("\0") for start in range(0, len(text), width)]
    raise ValueError("not an array of texts")
