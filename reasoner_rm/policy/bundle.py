"""What a trained judge is on disk: weights, processor, and `reasoner_rm.json`, which says how it wants to be asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reasoner_rm.data.io import atomic
from reasoner_rm.errors import InputError
from reasoner_rm.policy.loading import Vlm, resolve_model
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template

FILE = "reasoner_rm.json"


@dataclass(frozen=True, slots=True)
class Card:
    """How a model was taught to be asked: its task and the very prompt text, images' bounds, and its listener."""

    task: str
    template: Template
    min_pixels: int | None = None
    max_pixels: int | None = None
    listener: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        row["template"]["hash"] = self.template.hash
        row["container"] = get_task(self.task).container
        return row


def save_bundle(vlm: Vlm, card: Card, out: Path) -> None:
    """Write a judge beside its final place and rename it there, so that a folder of that name is always whole."""
    beside = out.with_name(f".{out.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    vlm.model.save_pretrained(beside)
    vlm.processor.save_pretrained(beside)
    with atomic(beside / FILE) as file:
        json.dump(card.as_json(), file, indent=1, ensure_ascii=False)
    if out.exists():
        shutil.rmtree(out)
    beside.rename(out)


def load_card(path_or_id: str | Path, task: str = "image_preference") -> Card:
    """The card of a trained judge; for a plain checkpoint, the task's default template.

    Raises:
        InputError: a broken card, or one whose template text no longer has the hash it was saved with.
    """
    file = Path(resolve_model(path_or_id)) / FILE
    if not file.is_file():
        return Card(task, load_template(task))
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
        template = Template(row["template"]["name"], row["template"]["text"])
        card = Card(row["task"], template, row.get("min_pixels"), row.get("max_pixels"), row.get("listener"))
        stored = row["template"]["hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"broken judge card ({error})", file=file, remedy="save the judge again") from None
    if stored != template.hash:
        raise InputError("the template text was changed after saving", file=file, remedy="restore it or save again")
    return card
