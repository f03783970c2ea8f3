"""From a YAML file and `--set` overrides to a configuration; what is wrong with them, by line."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from reasoner_rm.config.root import Config
from reasoner_rm.errors import InputError

REFUSED = {
    "freeze_vision": "name the parts: model.freeze: [vision, merger]",
    "per_device_train_batch_size": "batches count prompts here, not completions: set prompts_per_device",
    "use_vllm": "set engine.name: vllm",
}


def load_config(file: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `--set a.b=c` overrides.

    Raises:
        InputError: no such file, broken YAML, an unknown key (with the nearest known one), a wrong value; each with
            its line, or the override it came from.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError("no such config", file=path, remedy="give a YAML file, for example one of configs/")
    try:
        text = path.read_text(encoding="utf-8")
        node, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or no such date
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not valid YAML: {problem}", file=path, line=mark.line + 1 if mark else None) from None
    if not isinstance(values, dict):
        raise InputError(
            "a config is a mapping of sections", file=path, remedy=f"sections: {', '.join(Config.model_fields)}"
        )
    lines = dict(_lines(node))
    origin: dict[tuple[str, ...], str] = {}
    for override in overrides:
        keys = _override(values, override)
        origin[keys] = override
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path, lines, origin) from None
    return _anchor(config, path.parent)


def _override(values: dict[str, Any], text: str) -> tuple[str, ...]:
    dotted, sign, value = text.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not sign or not all(keys):
        raise InputError(f"--set {text!r} is not of the form a.b=c")
    at = values
    for key in keys[:-1]:
        if not isinstance(at.get(key), dict):
            at[key] = {}
        at = at[key]
    try:
        at[keys[-1]] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {text!r}: the value is not valid YAML") from None
    return keys


def _explain(
    error: ValidationError, path: Path, lines: dict[tuple[str, ...], int], origin: dict[tuple[str, ...], str]
) -> InputError:
    first = error.errors()[0]
    where = tuple(str(k) for k in first["loc"])
    known = next((where[:i] for i in range(len(where), 0, -1) if where[:i] in lines or where[:i] in origin), where)
    dotted = ".".join(known)
    if first["type"] == "extra_forbidden":
        names = list(_section(known[:-1]).model_fields)
        near = difflib.get_close_matches(known[-1], names, 1)
        remedy = REFUSED.get(known[-1]) or (f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}")
        what = f"unknown key {dotted!r}"
    else:
        what, remedy = f"{dotted}: {first['msg'].lower()}, got {str(first['input'])[:60]!r}", "correct the value"
    if known in origin:
        return InputError(f"--set {origin[known]}: {what}", remedy=remedy)
    return InputError(what, file=path, line=lines.get(known), remedy=remedy)


def _section(keys: Sequence[str]) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for key in keys:
        annotation = section.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return section


def _lines(node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*prefix, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*prefix, str(key.value)))


def _anchor(config: Config, folder: Path) -> Config:
    """Data paths, and files of one's own functions, relative to the YAML's folder."""
    files = {k: folder / v for k, v in config.data if isinstance(v, Path) and not v.is_absolute()}
    grpo, rewards = config.grpo, config.grpo.rewards
    functions = {
        "rewards": _own(rewards, folder) if isinstance(rewards, str)
        else {_own(name, folder): setting for name, setting in rewards.items()},
        "scorers": {name: _own(function, folder) for name, function in grpo.scorers.items()},
    }  # fmt: skip
    run = config.run
    if run.deepspeed is not None and not run.deepspeed.is_absolute():
        run = run.model_copy(update={"deepspeed": folder / run.deepspeed})
    data, grpo = config.data.model_copy(update=files), grpo.model_copy(update=functions)
    return config.model_copy(update={"run": run, "data": data, "grpo": grpo})


def _own(name: str, folder: Path) -> str:
    return str(folder / name) if ".py:" in name else name
