"""A pickle of plain data, parsed without executing it.

Unpickling calls any function that the bytes name. Even an ``Unpickler`` with an allow-list lets ten bytes allocate
gigabytes of memo, and numpy's ``__setstate__`` trusts the sizes it is given. Here no function is called: the few names
that a numpy array needs are kept as symbols, with their arguments as data. Every other name is an error.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass
from typing import Any

MAX_OPCODES = 100_000
"""Bounds the time; a batch of images and prompts needs fewer."""
MAX_TEXTS = 1000
"""Texts of a list. A list may refer to one long text many times, which is decoded each time."""

_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NAMES = re.compile(r"numpy\.(?:_?core\.(?:multiarray|numeric)\.)?(ndarray|dtype|scalar|_reconstruct|_frombuffer)")
"""The names in pickled arrays of numpy 1 and 2."""


@dataclass(slots=True, frozen=True)
class Name:
    """A function or class of numpy that the pickle imports."""

    of: str

    @classmethod
    def checked(cls, path: str) -> Name:
        """Raises:
        ValueError: a name that no array of texts needs.
        """
        match = _NAMES.fullmatch(path)
        if match is None:
            raise ValueError(f"it names {path[:60]!r}")
        return cls(match[1])


@dataclass(slots=True, eq=False)
class PickledCall:
    """A call that the pickle makes, as data: the function's name, its arguments, and the state set on the result."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


def read(data: bytes) -> Any:
    """Numbers, texts, bytes, lists, tuples, dicts by text, and numpy arrays as `PickledCall`; protocol 3 or later.

    Raises:
        ValueError: not a pickle, a broken one, one with other contents, or too many opcodes.
    """
    machine = _Machine()
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(data)):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if count == MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES} opcodes")
            machine.step(opcode.name, value)
    except (LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"broken ({type(error).__name__})") from None
    raise ValueError("it has no STOP opcode")


def texts(value: Any) -> list[str]:
    """The texts in a list, a tuple, or a pickled numpy array.

    Raises:
        ValueError: anything else, or more than `MAX_TEXTS`.
    """
    match value:
        case list() | tuple() if len(value) <= MAX_TEXTS:
            return [text for item in value for text in ([item] if isinstance(item, str) else _scalar(item))]
        case PickledCall("_reconstruct", state=(_, _, _, _, list() as items)):
            return texts(items)
        case PickledCall("_reconstruct", state=(_, _, dtype, _, bytes() as raw)):
            return _decoded(dtype, raw)
        case PickledCall("_frombuffer", (bytes() | bytearray() as raw, dtype, _, _)):
            return _decoded(dtype, bytes(raw))
    raise ValueError("not a list of texts")


class _Machine:
    """The state of the pickle machine: the stack, the stacks below each mark, and the memo."""

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
                items = [self.stack.pop()] if name == "APPEND" else self._pop_mark()
                _only(list, self.stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [self.stack.pop(-2), self.stack.pop()] if name == "SETITEM" else self._pop_mark()
                keys = [_only(str, key) for key in items[::2]]
                _only(dict, self.stack[-1]).update(zip(keys, items[1::2], strict=True))
            case "BUILD":
                state = self.stack.pop()
                _only(PickledCall, self.stack[-1]).state = state
            case _:
                pushed = self._value(name, value)  # evaluated first: it may pop its arguments
                self.stack.append(pushed)

    def _value(self, name: str, value: Any) -> Any:
        match name:
            case _ if name in _VALUES:
                return value
            case _ if name in _CONSTANTS:
                return _CONSTANTS[name]
            case _ if name in _TUPLES:
                return tuple([self.stack.pop() for _ in range(_TUPLES[name])][::-1])
            case "TUPLE":
                return tuple(self._pop_mark())
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
                args, function = self.stack.pop(), self.stack.pop()
                return PickledCall(_only(Name, function).of, _only(tuple, args))
        raise ValueError(f"the opcode {name} is not allowed")

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items


def _only(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _scalar(value: Any) -> list[str]:
    """The text of a pickled `numpy.str_`."""
    match value:
        case PickledCall("scalar", (dtype, bytes() as raw)):
            return _decoded(dtype, raw, limit=1) or [""]
    raise ValueError("not a list of texts")


def _decoded(dtype: Any, raw: bytes, limit: int = MAX_TEXTS) -> list[str]:
    """The texts of a numpy array of dtype `U`: UTF-32, padded to one width."""
    match dtype:
        case PickledCall("dtype", (str() as kind, *_), (_, str() as order, *_)) if re.fullmatch(r"U\d{1,5}", kind):
            width = max(1, int(kind[1:]))
            if len(raw) <= 4 * width * limit:
                text = raw.decode("utf-32-be" if order == ">" else "utf-32-le")
                return [text[start : start + width].rstrip("\0") for start in range(0, len(text), width)]
    raise ValueError("not an array of texts")
