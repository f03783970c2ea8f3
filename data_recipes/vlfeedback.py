"""VLFeedback: answers of several models to one question, rated in three aspects by a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.pairing import pair, prompt_group
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_list, as_text
from reasoner_rm.schema import Sample

ASPECTS = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")


@dataclass(frozen=True, slots=True)
class Options:
    min_gap: float = option(0.0, "leave out pairs whose mean ratings differ by no more")


def vlfeedback(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """All pairs of answers by the mean of three ratings; ratings are texts, and those without a number are left out."""
    rated = []
    for answer in _answers(row.value("completions")):
        mean = _mean(as_dict(answer.get("annotations"), "completions.annotations"))
        if mean is not None:
            rated.append((as_text(answer.get("response"), "completions.response"), mean, answer.get("model")))
    pairs = [(a, b) for a, b in itertools.combinations(range(len(rated)), 2) if rated[a][0] != rated[b][0]]
    pairs = [(a, b) for a, b in pairs if abs(rated[a][1] - rated[b][1]) > options.min_gap]
    if not pairs:
        raise SkipRow("no two answers with different ratings")
    prompt, image = row.text("prompt"), row.image("img_path")
    group = prompt_group(f"{prompt}\n{row.value('img_path')}")
    return [
        pair(
            row, "response_preference", prompt, (rated[a][0], rated[b][0]), float(rated[a][1] > rated[b][1]),
            part=f"{a}-{b}", images=[image], group=group,
            meta={"ratings": [rated[a][1], rated[b][1]], "models": [rated[a][2], rated[b][2]]},
        )
        for a, b in pairs
    ]  # fmt: skip


def _answers(value: Any) -> list[Mapping[str, Any]]:
    """One object an answer; the hub stores them as one object of lists."""
    if isinstance(value, Mapping):
        columns = {name: as_list(items, f"completions.{name}") for name, items in value.items()}
        if len({len(items) for items in columns.values()}) > 1:
            as_list([], "completions", n=max(map(len, columns.values())))
        return [dict(zip(columns, items, strict=True)) for items in zip(*columns.values(), strict=True)]
    return [as_dict(item, "completions") for item in as_list(value, "completions")]


def _mean(annotations: Mapping[str, Any]) -> float | None:
    ratings = []
    for aspect in ASPECTS:
        try:
            ratings.append(float(as_dict(annotations.get(aspect), f"annotations.{aspect}").get("Rating", "")))
        except (TypeError, ValueError):
            return None
    return sum(ratings) / len(ratings)


VLFEEDBACK = Recipe(
    "vlfeedback", "VLFeedback: 80k questions with four rated answers each (arXiv 2410.09421)", vlfeedback,
    hub="MMInstruction/VLFeedback", licence="", tables=("{split}*.jsonl", *PARQUET), splits=("train",),
    options=Options,
)  # fmt: skip
