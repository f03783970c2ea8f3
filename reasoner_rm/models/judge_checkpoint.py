"""What a trained judge is on disk: weights, processor, and `reasoner_rm.json`, which says how it wants to be asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm, resolve_model
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template
from reasoner_rm.utils.files import atomic_write

FILE = "reasoner_rm.json"


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """How a model was taught to be asked: its task and the very prompt text, images' bounds, and its listener.

    ``temperature`` divides the log-odds of its verdict tokens, as fitted on held-out pairs; 1: it was not calibrated.
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


def save_judge(vlm: Vlm, card: JudgeConfig, out: Path) -> None:
    """Write a judge beside its final place and rename it there, so that a folder of that name is always whole."""
    beside = out.with_name(f".{out.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    vlm.model.save_pretrained(beside)
    vlm.processor.save_pretrained(beside)
    with atomic_write(beside / FILE) as file:
        json.dump(card.as_json(), file, indent=1, ensure_ascii=False)
    if out.exists():
        shutil.rmtree(out)
    beside.rename(out)


def is_judge(path_or_id: str | Path) -> bool:
    """Whether this is a trained judge and no plain checkpoint."""
    return find_judge_config(path_or_id) is not None


def find_judge_config(path_or_id: str | Path) -> Path | None:
    """Where a judge's card is on this machine; one on the hub is fetched. None: there is none."""
    source = resolve_model(path_or_id)
    if Path(source).is_dir():
        file = Path(source) / FILE
        return file if file.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(source, FILE, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):  # no such model: whoever loads it says so
        return None
    return None if found is None else Path(found)


def load_judge_config(path_or_id: str | Path, task: str = "image_preference", variant: str = "default") -> JudgeConfig:
    """The card of a trained judge; for a plain checkpoint, the task's template of that variant.

    Raises:
        InputError: a broken card, or one whose template text no longer has the hash it was saved with.
    """
    file = find_judge_config(path_or_id)
    if file is None:
        return JudgeConfig(task, load_template(task, variant))
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
        template = Template(row["template"]["name"], row["template"]["text"])
        card = JudgeConfig(
            row["task"],
            template,
            row.get("min_pixels"),
            row.get("max_pixels"),
            row.get("listener"),
            float(row.get("temperature", 1.0)),
        )
        stored = row["template"]["hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"broken judge card ({error})", file=file, remedy="save the judge again") from None
    if stored != template.hash:
        raise InputError("the template text was changed after saving", file=file, remedy="restore it or save again")
    return card
