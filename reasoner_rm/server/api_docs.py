"""The API reference as one HTML page, rendered from the OpenAPI document. It loads nothing from other hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #ddd;padding:.3rem .6rem .3rem 0;"
    "text-align:left;vertical-align:top}code{font-family:ui-monospace,monospace}h2{font-size:1.1rem;margin-top:2.5rem}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}td,th{border-color:#444}a{color:#8bf}}"
)


def page(document: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML: each route with the fields of its request body."""
    title = escape(document["info"]["title"])
    routes = (
        "".join(_route(document, method, path, operation))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"<p>Machine-readable: <a href=openapi.json>openapi.json</a>.</p>{''.join(routes)}</html>"
    )


def _route(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description') or operation['summary'])}</p>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = _resolved(document, content["schema"])
        yield f"<table><tr><th>{escape(kind)}<th>type<th>default<th>"
        for name, field in fields.get("properties", {}).items():
            default = "required" if name in fields.get("required", ()) else json.dumps(field.get("default"))
            cells = (f"<code>{escape(name)}</code>", escape(_kind(field)), escape(default), escape(_bounds(field)))
            yield f"<tr><td>{'<td>'.join(cells)}"
        yield "</table>"


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    resolved: Mapping[str, Any] = schema
    if "$ref" in schema:
        resolved = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved


def _kind(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    if "enum" in field:
        return " or ".join(map(json.dumps, field["enum"]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field["$ref"].rpartition("/")[2] if "$ref" in field else field.get("type", "anything"))


def _bounds(field: Mapping[str, Any]) -> str:
    names = {"minimum": "from", "maximum": "to", "minLength": "characters from", "maxLength": "characters to",
             "minItems": "items from", "maxItems": "items to"}  # fmt: skip
    bounds = [f"{words} {field[name]:g}" for name, words in names.items() if name in field]
    return "; ".join(filter(None, [field.get("description"), *bounds]))
