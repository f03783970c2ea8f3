"""The evaluated items as JSON for the page's item browser, a script that shows one page of them at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reasoner_rm.data.sample_view import view_sample
from reasoner_rm.evaluation.subgroups import kind_sort_key
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.report.formatting import clip, gold_text, split_order, stage_order
from reasoner_rm.report.media import Picture, RenderedItem, ThumbnailCache
from reasoner_rm.schema import PAIRWISE_TASKS
from reasoner_rm.tasks import get_task

MAX_BYTES = 20_000_000
"""Larger data is thinned to fewer items: a web browser opens this much within a second or two."""


@dataclass(frozen=True, slots=True)
class Browser:
    """``json`` is the data, escaped for HTML; ``facets`` maps each facet to its subgroups. ``shown`` of ``total`` items
    are in the data. ``flags`` are the flags of any item."""

    json: Markup
    stages: tuple[str, ...]
    splits: tuple[str, ...]
    facets: dict[str, list[str]]
    total: int
    shown: int
    flags: frozenset[str]


def browse(evaluations: Sequence[Evaluated], thumbnails: ThumbnailCache, limit: int = MAX_BYTES) -> Browser:
    """The browser's data. If it exceeds ``limit`` bytes, every second, fourth, … item is kept."""
    grouped: dict[tuple[str, str], dict[str, list[Answer]]] = {}
    for evaluated in sorted(evaluations, key=lambda e: (split_order(e.split), stage_order(e.stage))):
        for answer in evaluated.answers:
            key = (evaluated.split, answer.sample.id)
            grouped.setdefault(key, {}).setdefault(evaluated.stage, []).append(answer)
    items = list(grouped.items())
    step = 1
    while len(json := _json(items[::step], thumbnails)) > limit and step < len(items):
        step *= 2
    answers = [a for _, stages in items for row in stages.values() for a in row]
    facets: dict[str, list[str]] = {}
    for facet in dict.fromkeys(f for a in answers for f in a.by):
        facets[facet] = sorted({a.by[facet] for a in answers if facet in a.by}, key=kind_sort_key)
    return Browser(
        json=json,
        stages=tuple(sorted({e.stage for e in evaluations}, key=stage_order)),
        splits=tuple(sorted({e.split for e in evaluations}, key=split_order)),
        facets=facets,
        total=len(items),
        shown=len(items[::step]),
        flags=frozenset(flag for _, stages in items for row in stages.values() for flag in flags(row)),
    )


def flags(answers: Sequence[Answer]) -> list[str]:
    """The flags by which the page filters items, from one stage's answers to an item."""
    scores = [a.correct for a in answers if a.correct is not None]
    orders = {o: [_candidate(a) for a in answers if a.order == o] for o in ("given", "swapped")}
    preferred = {*orders["given"], *orders["swapped"]}
    flags = {
        "right": bool(scores) and min(scores) == 1,
        "wrong": 0.0 in scores,
        "partly": any(0 < score < 1 for score in scores),
        "tie": not scores,
        "inconsistent": all(orders.values()) and ((None in preferred) or len(preferred) > 1),
        "unparsed": any(a.answer is None for a in answers),
        "disagrees": any(a.listener and a.preferred not in (None, _top(a.listener)) for a in answers),
    }
    return [flag for flag, holds in flags.items() if holds]


def _json(items: Iterable[tuple[tuple[str, str], dict[str, list[Answer]]]], thumbnails: ThumbnailCache) -> Markup:
    from jinja2.utils import htmlsafe_json_dumps

    pictures: dict[Picture, int] = {}
    rows = [_item(split, stages, thumbnails, pictures) for (split, _), stages in items]
    table = [[picture.uri, *picture.size] for picture in pictures]
    return htmlsafe_json_dumps({"pictures": table, "items": rows}, separators=(",", ":"))


def _item(
    split: str, stages: dict[str, list[Answer]], thumbnails: ThumbnailCache, pictures: dict[Picture, int]
) -> dict[str, Any]:
    answers = next(iter(stages.values()))
    sample = answers[0].sample
    return {
        "id": sample.id,
        "split": split,
        "facets": dict(answers[0].by),
        "prompt": [clip(part) for part in view_sample(sample).prompt],
        "gold": gold_text(sample),
        "views": {a.order: [_view(item, pictures) for item in thumbnails.render(a.sample)] for a in answers},
        "answers": {stage: [_answer(a) for a in row] for stage, row in stages.items()},
        "flags": {stage: flags(row) for stage, row in stages.items()},
    }


def _view(rendered: RenderedItem, pictures: dict[Picture, int]) -> dict[str, Any]:
    return {
        "label": rendered.item.label,
        "text": clip(rendered.item.text),
        "right": rendered.item.right,
        "pictures": [pictures.setdefault(picture, len(pictures)) for picture in rendered.pictures],
        "boxes": [[*corners, label] for corners, label in rendered.item.boxes],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    sample, task = answer.sample, get_task(answer.sample.task)
    noun = f"{PAIRWISE_TASKS[sample.task].noun} " if sample.task in PAIRWISE_TASKS else ""
    gold = task.gold_probs(sample)
    readable = answer.thinking is not None and not answer.parse_error
    row: dict[str, Any] = {
        "order": answer.order,
        "thinking" if readable else "text": clip(str(answer.thinking) if readable else answer.text),
        "answer": None if answer.answer is None else clip(answer.answer, 400),
        "parse_error": answer.parse_error,
        "correct": answer.correct,
    }
    if answer.listener or answer.confidence:
        row |= {
            "options": [noun + option for option in task.options(sample)],
            "gold": None if gold is None or task.reference_answer(sample) is None else _top(gold),
            "listener": [round(p, 3) for p in answer.listener],
            "confidence": [round(p, 3) for p in answer.confidence],
        }
    if answer.boxes:
        row["boxes"] = [[*box["bbox_2d"], str(box.get("label", ""))] for box in answer.boxes]
    return row


def _candidate(answer: Answer) -> int | None:
    """The index of the preferred candidate, in the order of the dataset."""
    return answer.preferred if answer.preferred is None or answer.order == "given" else 1 - answer.preferred


def _top(probs: Sequence[float]) -> int:
    return max(range(len(probs)), key=probs.__getitem__)
