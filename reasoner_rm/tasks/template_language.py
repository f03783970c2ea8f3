"""The part of Jinja that prompt templates are written in: texts, `for`, `if`, and expressions without calls.

A judge's template comes with its checkpoint, so it may be a stranger's. What can repeat itself without bound is left
out (assignments, macros, calls, products), and what remains is bounded in steps, output and time.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

MAX_TEXT, MAX_STEPS, MAX_OUTPUT, MAX_SECONDS = 20_000, 10_000, 10_000_000, 5.0
"""Characters of a template, passes through its loops, characters of what it renders, and seconds for them."""
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Name, nodes.Const, nodes.List,
    nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand,
    nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Div, nodes.Concat, nodes.Neg,
    nodes.Keyword,
)  # fmt: skip
_FILTERS = (
    "length", "count", "default", "d", "first", "last", "lower", "upper", "capitalize", "title", "trim", "int",
    "float", "string", "list", "sort", "reverse",
)  # fmt: skip
_STARTED, _STEP = "started of this rendering", "step of this rendering"


def render_text(template: str, fields: Mapping[str, Any]) -> str:
    """A template filled with its fields.

    Raises:
        jinja2.TemplateError: it is no template of this language, does not fit the fields, or exceeds a bound.
    """
    counters = {_STARTED: time.monotonic(), _STEP: [0]}
    pieces, length = [], 0
    try:
        for piece in compiled(template).generate({**fields, **counters}):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_OUTPUT:
                raise jinja2.TemplateRuntimeError(f"it renders more than {MAX_OUTPUT:,} characters")
    except jinja2.TemplateError:
        raise
    except Exception as error:  # an expression that does not fit the types of its fields
        raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from None
    return "".join(pieces)


@functools.lru_cache(maxsize=64)
def compiled(template: str) -> jinja2.Template:
    """A checked template.

    Raises:
        jinja2.TemplateError: a syntax error, what the language leaves out, or too long a text.
    """
    if len(template) > MAX_TEXT:
        raise jinja2.TemplateError(f"more than {MAX_TEXT:,} characters")
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters = {name: environment.filters[name] for name in _FILTERS} | {"join": _join, "counted": _counted}
    try:
        tree = environment.parse(template)
        for node in tree.find_all(nodes.Node):
            _check(node)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        return environment.from_string(tree)
    except jinja2.TemplateError:
        raise
    except Exception as error:  # too deep, or a number of too many digits
        raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from None


def _check(node: nodes.Node) -> None:
    name = getattr(node, "name", None) if isinstance(node, nodes.Filter) else None
    if not isinstance(node, _NODES) or name == "counted":
        what = f"no {type(node).__name__.lower()} is allowed in a prompt's template"
        raise jinja2.TemplateSyntaxError(what, node.lineno)
    if name is not None and name not in (*_FILTERS, "join"):
        known = ", ".join(sorted((*_FILTERS, "join")))
        raise jinja2.TemplateSyntaxError(f"no filter {name!r} in a prompt's template, there are {known}", node.lineno)


@jinja2.pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """The items of a loop. Each is a step of the rendering."""
    step: list[int] = context[_STEP]
    for item in items:
        step[0] += 1
        if step[0] > MAX_STEPS:
            raise jinja2.TemplateRuntimeError(f"its loops have more than {MAX_STEPS:,} steps")
        if time.monotonic() - context[_STARTED] > MAX_SECONDS:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MAX_SECONDS:g} s")
        yield item


def _join(items: Iterable[Any], separator: str = "") -> str:
    """The items with a separator between them."""
    texts = [str(item) for item in items]
    if sum(map(len, texts)) + len(texts) * len(separator) > MAX_OUTPUT:
        raise jinja2.TemplateRuntimeError(f"it joins more than {MAX_OUTPUT:,} characters")
    return separator.join(texts)
