"""A trained judge on disk: weights, processor, and its configuration `reasoner_rm.json`."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm, resolve_model
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template
from reasoner_rm.tasks.template_language import compiled
from reasoner_rm.utils.files import atomic_folder, atomic_write, link_or_copy

FILE = "reasoner_rm.json"


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """A judge's configuration: its task, its prompt template, pixel bounds, and its listener.

    ``temperature`` divides the log-odds of its verdict tokens, fitted on held-out pairs; 1: not calibrated.
    """

    task: str
    template: Template
    min_pixels: int | None = None
    max_pixels: int | None = None
    listener: str | None = None
    temperature: float = 1.0

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        row["template"]["hash"] = self.template.hash
        row["container"] = get_task(self.task).container
        return row


def save_judge(vlm: Vlm, config: JudgeConfig, out: Path) -> None:
    """Write a judge; ``out`` is never incomplete."""
    with atomic_folder(out) as beside:
        vlm.model.save_pretrained(beside)
        vlm.processor.save_pretrained(beside)
        with atomic_write(beside / FILE) as file:
            json.dump(config.as_json(), file, indent=1, ensure_ascii=False)


def copy_judge(source: Path, out: Path) -> None:
    """A judge under a second name, whose weights take no more room; ``out`` is never incomplete."""
    with atomic_folder(out) as beside:
        for file in source.iterdir():
            (link_or_copy if file.suffix == ".safetensors" else shutil.copyfile)(file, beside / file.name)


def is_judge(path_or_id: str | Path) -> bool:
    """Whether this is a trained judge, and not a base model."""
    return find_judge_config(path_or_id) is not None


def find_judge_config(path_or_id: str | Path) -> Path | None:
    """The local path of a judge's configuration, downloaded from the hub if necessary; None without one."""
    try:
        source = resolve_model(path_or_id)
    except InputError:  # the name of a model on a server, or none: loading it raises the error
        return None
    if Path(source).is_dir():
        file = Path(source) / FILE
        return file if file.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        cached = cached_file(source, FILE, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):  # no such model: loading it raises the error
        return None
    return None if cached is None else Path(cached)


def load_judge_config(path_or_id: str | Path, task: str = "image_preference", variant: str = "default") -> JudgeConfig:
    """The configuration of a trained judge; for a base model, the task's template of that variant.

    Raises:
        InputError: a broken configuration, or a template text that does not match its hash.
    """
    file = find_judge_config(path_or_id)
    if file is None:
        return JudgeConfig(task, load_template(task, variant))
    try:
        config, stored = _parse(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError, jinja2.TemplateError) as error:
        what = f"broken judge configuration ({str(error)[:200] or type(error).__name__})"
        raise InputError(what, file=file, remedy="save the judge again") from None
    if stored != config.template.hash:
        raise InputError("the template text was changed after saving", file=file, remedy="restore it or save again")
    return config


def _parse(row: Any) -> tuple[JudgeConfig, Any]:
    """A configuration as it was saved, and the hash of its template."""
    template = Template(_text(row["template"]["name"]), _text(row["template"]["text"]))
    compiled(template.text)
    pixels = row.get("min_pixels"), row.get("max_pixels")
    temperature = float(row.get("temperature", 1.0))
    if not all(bound is None or (type(bound) is int and 0 < bound < 2**31) for bound in pixels):
        raise ValueError(f"pixel bounds {pixels!r:.60}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature:g}")
    task = _text(row["task"])
    get_task(task)
    listener = row.get("listener")
    config = JudgeConfig(task, template, *pixels, None if listener is None else _text(listener), temperature)
    return config, row["template"]["hash"]


def _text(value: Any) -> str:
    """A text that can be encoded: JSON may hold half of a surrogate pair."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    value.encode()
    return value
