"""A checkpoint's chat template, which may be a stranger's: the part of Jinja that it may use, and bounds on its steps,
its time and its texts.

Everything of Jinja that chat templates of Qwen's models use is there. What is left out can grow without bound or reads
other files: products of texts, lists of variables in one another, methods such as `center`, `include`. What remains is
counted: a pass through a loop, a call, a sum.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from reasoner_rm.errors import InputError

MAX_TEMPLATE, MAX_STEPS, MAX_TEXT, MAX_SECONDS = 50_000, 10_000, 10_000_000, 5.0
"""Characters of a template, steps of a rendering, characters of any text in it, and its seconds."""
_FILTERS = (
    "length", "count", "default", "d", "first", "last", "lower", "upper", "capitalize", "title", "trim", "int", "float",
    "list", "sort", "reverse", "items", "safe", "escape", "e", "abs", "round", "min", "max", "select", "reject",
    "selectattr", "rejectattr", "map",
)  # fmt: skip
_METHODS = frozenset((
    "startswith", "endswith", "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "partition", "rpartition",
    "lower", "upper", "title", "capitalize", "find", "rfind", "index", "count", "isdigit", "isspace", "isalpha",
    "removeprefix", "removesuffix", "get", "items", "keys", "values",
))  # fmt: skip
"""Of texts, lists and objects; none of them makes more of what it is given."""
_LEFT_OUT = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
_STATE = "state of this rendering"


def chat_text(processor: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as the processor's chat template writes it, with the assistant's header: as its
    `apply_chat_template` without tokens, but bounded.

    Raises:
        InputError: there is no template, it fails on the conversation, or it exceeds a bound.
    """
    found = processor.chat_template
    template = found.get("default") if isinstance(found, Mapping) else found
    if not isinstance(template, str):
        raise InputError("the model has no chat template", remedy="use an instruction-tuned checkpoint")
    fields = {
        **processor.tokenizer.special_tokens_map, "messages": messages, "tools": None, "documents": None,
        "add_generation_prompt": True,
    }  # fmt: skip
    state = _State()
    try:
        pieces = [state.kept(piece) for piece in _compiled(template).generate({**fields, _STATE: state})]
    except Exception as error:  # what its expressions raise on this conversation
        reason = str(error).partition("\n")[0]
        raise InputError(f"the model's chat template fails ({reason[:200] or type(error).__name__})") from None
    return "".join(pieces)


class _State:
    """What a rendering has taken so far."""

    def __init__(self) -> None:
        self.began, self.steps, self.written = time.monotonic(), 0, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS or time.monotonic() - self.began > MAX_SECONDS:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MAX_STEPS:,} steps or {MAX_SECONDS:g} s")

    def kept(self, text: str) -> str:
        self.written += len(text)
        return _bounded(text, self.written)


def _bounded(value: Any, length: int) -> Any:
    if length > MAX_TEXT:
        raise jinja2.TemplateRuntimeError(f"it makes a text of more than {MAX_TEXT:,} characters")
    return value


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        context[_STATE].step()
        if operator != "+" and not all(isinstance(n, (int, float)) and abs(n) < 2**31 for n in (left, right)):
            raise jinja2.TemplateRuntimeError(f"{operator} is for small numbers")
        if operator == "**":
            raise jinja2.TemplateRuntimeError("it uses powers")
        if not isinstance(left, (int, float)):
            _bounded(left, len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        __context[_STATE].step()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (str, list, tuple, dict)) and __obj.__name__ not in _METHODS:
            raise jinja2.TemplateRuntimeError(f"it calls {__obj.__name__}")
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(Extension):
    """`{% generation %}`, which marks what the assistant says and writes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as in Jinja

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


class _Counted(NodeTransformer):
    """Loops and concatenations through filters that count."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as in Jinja
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "join", [], [], None, None, lineno=node.lineno)


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    if len(template) > MAX_TEMPLATE:
        raise jinja2.TemplateError(f"more than {MAX_TEMPLATE:,} characters")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"], finalize=_written
    )
    environment.filters = {name: environment.filters[name] for name in _FILTERS} | _BOUNDED_FILTERS
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")} | {
        "raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form[:100]),
    }  # fmt: skip
    tree = environment.parse(template)
    for node in tree.find_all(nodes.Node):
        if isinstance(node, _LEFT_OUT) or (isinstance(node, nodes.Filter) and node.name == "counted"):
            raise jinja2.TemplateSyntaxError(f"no {type(node).__name__.lower()} is allowed", node.lineno)
        if isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict)) and getattr(node, "ctx", "load") == "load":
            _check_constant(node)
    return environment.from_string(_Counted().visit(tree))


def _check_constant(node: nodes.Node) -> None:
    """Lists that hold themselves twice would grow by doubling."""
    for inner in node.iter_child_nodes():
        if isinstance(inner, (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter)):
            raise jinja2.TemplateSyntaxError("a list or an object holds a variable", node.lineno)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(str(message)[:200])


def _text(value: Any) -> str:
    """A text, a number, a truth value, or nothing; lists and objects may hold more than there is memory for."""
    if not isinstance(value, (str, int, float, Undefined, type(None))):
        raise jinja2.TemplateRuntimeError(f"it writes a {type(value).__name__}")
    return str(value)


@jinja2.pass_context
def _written(context: Context, value: Any) -> str:
    text: str = context[_STATE].kept(_text(value))
    return text


@jinja2.pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        context[_STATE].step()
        yield item


@jinja2.pass_context
def _join(context: Context, items: Iterable[Any], separator: str = "") -> str:
    texts = []
    for item in items:
        context[_STATE].step()
        texts.append(_text(item))
    _bounded(texts, sum(map(len, texts)) + len(texts) * len(separator))
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    _bounded(text, len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """As in transformers; piece by piece, as what an object holds several times is written several times."""
    pieces, length = [], 0
    for piece in json.JSONEncoder(ensure_ascii=ensure_ascii, indent=min(indent or 0, 16) or None).iterencode(value):
        pieces.append(piece)
        length += len(piece)
        _bounded(pieces, length)
    return "".join(pieces)


_BOUNDED_FILTERS: dict[str, Callable[..., Any]] = {
    "counted": _counted, "join": _join, "replace": _replace, "tojson": _to_json, "string": _text,
}  # fmt: skip
