"""Writes docs/configuration.md and docs/metrics.md from the code.

python scripts/generate_reference.py            write them
python scripts/generate_reference.py --check    exit 1 if they are not current
"""

from __future__ import annotations

import argparse
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reasoner_rm.config import Config
from reasoner_rm.training.metric_names import METRICS

DOCS = Path(__file__).parents[1] / "docs"


def configuration() -> str:
    """The configuration's keys, one table per section."""
    head = (
        "# Configuration\n\nEvery key of a run's YAML; `--set a.b=c` overrides one. "
        "Written by `python scripts/generate_reference.py`.\n"
    )
    return "\n".join([head, *_section("", Config)]) + "\n"


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    nested: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in model.model_fields.items():
        section = _model_of(field.annotation)
        if section is not None:
            nested.append((f"{path}.{name}".lstrip("."), section))
        rows.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_meaning(model, name, section)} |")
    yield f"## {f'`{path}`' if path else 'Top level'}\n"
    yield _line(inspect.getdoc(model)) + "\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for name, section in nested:
        yield from _section(name, section)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section class in a field's annotation, also in an optional or a sequence; None for other types."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for arg in typing.get_args(annotation) if (m := _model_of(arg)) is not None), None)


def _type(annotation: Any) -> str:
    if _model_of(annotation) is not None:
        return "list of sections" if typing.get_origin(annotation) is tuple else "section"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " ".join(f"`{value}`" for value in args)
    if origin is typing.Annotated:
        return _type(args[0])
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return "mapping"
    if type(None) in args:
        return " or ".join(_type(arg) for arg in args if arg is not type(None)) + ", or null"
    if args:
        return " or ".join(dict.fromkeys(_type(arg) for arg in args))
    return {"str": "text", "int": "integer", "float": "number", "bool": "true, false", "Path": "path"}.get(
        annotation.__name__, annotation.__name__
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None:
        return "null"
    if isinstance(value, (tuple, dict)):
        return ", ".join(f"`{v}`" for v in value) or "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(model: type[BaseModel], name: str, section: type[BaseModel] | None) -> str:
    """The docstring of the field (of this class or a base class), or else of its section."""
    for base in model.__mro__:
        if issubclass(base, BaseModel) and name in base.model_fields and base.model_fields[name].description:
            return _line(base.model_fields[name].description)
    if section is None:
        raise ValueError(f"{model.__name__}.{name} has no docstring")
    return _line(inspect.getdoc(section)).partition(". ")[0].rstrip(".") + "."


def _line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def metrics() -> str:
    """The metrics of training in one table."""
    rows = [f"| `{m.name}` | {m.stages} | {_line(m.meaning)} |" for m in METRICS]
    return (
        "# Metrics\n\nWhat `metrics.jsonl` and the trackers get after each step, in the order of "
        "`reasoner_rm/training/metric_names.py`. `NAME` is a placeholder for a component, a type or a phase. "
        "`python scripts/generate_reference.py`.\n\n| name | stage | meaning |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


PAGES = {"configuration.md": configuration, "metrics.md": metrics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, page in PAGES.items():
        file = DOCS / name
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != page()):
            sys.exit(f"{file} is not current: run python scripts/generate_reference.py")
        if not check:
            file.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
