"""VLM-R1's data: referring expressions (REC) and open-vocabulary detection (OVD), as conversations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from reasoner_rm.data.conversation_text import exchange, strip_placeholders
from reasoner_rm.data.pairing import prompt_group
from reasoner_rm.data.row import DatasetRow, as_list, as_number
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

_EXPRESSION = re.compile(r"(?:this sentence describes|describes|region of|refers to)\s*:?\s*(.+?)\s*$", re.S | re.I)
_CATEGORIES = re.compile(r"(?:categories|objects|classes)[^:\n]*:\s*(.+?)(?:\.\s|\n|$)", re.DOTALL | re.IGNORECASE)


def rec(row: DatasetRow, options: object) -> Iterable[Sample]:
    """Training rows are conversations answered with four numbers; evaluation rows have `problem` and `solution`."""
    if "solution" in row.values:
        question, answer = row.text("problem"), row.parsed("solution")
        expression = row.text("normal_caption") if row.optional("normal_caption") else _expression(question)
    else:
        question, answer = _exchange(row)
        expression = _expression(question)
    box = [as_number(v, "the box") for v in as_list(_numbers(answer), "the box", 4)]
    return [_sample(row, "grounding", expression, [{"bbox_2d": box, "label": expression[:200]}])]


def ovd(row: DatasetRow, options: object) -> Iterable[Sample]:
    """The answer is a list of boxes in a Markdown fence and `<answer>`, or `None` without objects."""
    question, answer = _exchange(row)
    bare = re.sub(r"</?answer>|```(?:json)?", "", answer if isinstance(answer, str) else json.dumps(answer)).strip()
    try:
        boxes = [] if bare == "None" else json.loads(bare)
    except ValueError as error:
        raise InputError(f"the answer is no JSON: {error}", remedy="correct or remove the row") from None
    found = _CATEGORIES.search(question)
    return [
        _sample(row, "detection", (found[1] if found else question).strip().rstrip("."), as_list(boxes, "the answer"))
    ]


def _exchange(row: DatasetRow) -> tuple[str, object]:
    """The question without its image placeholder, and the answer, which may be a list instead of a text."""
    talk = [dict(turn) if isinstance(turn, dict) else turn for turn in row.items("conversations", 2)]
    answer = talk[1].get("value") if isinstance(talk[1], dict) else None
    if isinstance(answer, (list, tuple)):
        talk[1]["value"] = "list"
        return strip_placeholders(exchange(talk, "conversations")[0]), answer
    question, said = exchange(talk, "conversations")
    return strip_placeholders(question), said


def _expression(question: str) -> str:
    found = _EXPRESSION.search(strip_placeholders(question))
    return (found[1] if found else strip_placeholders(question)).strip().rstrip(".")


def _numbers(answer: object) -> object:
    """Four numbers from a list, or from the last brackets of a text."""
    if not isinstance(answer, str):
        return answer
    found = re.findall(r"[\[(]\s*(-?[\d.]+(?:\s*,\s*-?[\d.]+){3})\s*[\])]", answer)
    return [part.strip() for part in found[-1].split(",")] if found else answer


def _sample(row: DatasetRow, task: str, prompt: str, boxes: list[object]) -> Sample:
    image = row.images("image", 1)[0]
    return Sample(
        id=row.name, task=task, prompt=prompt, images=(image,), gold={"boxes": boxes},
        group_id=prompt_group(f"{row.values.get('image')}"), source=row.source,
    )  # fmt: skip
