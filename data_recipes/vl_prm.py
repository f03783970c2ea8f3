"""Solutions about images; each step has the share of rollouts from it with a correct answer: ViLReward, VL-PRM300K.

A step is right if its value is above a threshold; the steps after the first wrong one are labelled by their own values.
VL-PRM300K's columns are those of its card. ViLReward-73K's card mentions a question, an image, and steps with values
only: options name its columns, and any other layout is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.pairing import prompt_group
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_list, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.step_critique import MAX_STEPS


@dataclass(frozen=True, slots=True)
class Options:
    above: float = option(0.0, "a step is right where its value is greater, wrong otherwise")


@dataclass(frozen=True, slots=True)
class ViLRewardOptions(Options):
    steps: str = option("steps", "column of the steps: texts, or objects that hold one text and one number")
    values: str = option("values", "column of their values, where steps are texts")


def vl_prm(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`steps_with_score`: objects with `step` and `score`, the share of rollouts with a correct answer."""
    steps = [as_dict(item, "steps_with_score") for item in as_list(row.parsed("steps_with_score"), "steps_with_score")]
    texts = [as_text(step.get("step"), "steps_with_score.step") for step in steps]
    values = [as_number(step.get("score"), "steps_with_score.score", 0, 1) for step in steps]
    meta = {name: row.optional(name) for name in ("rollout_ground_truth_answer", "source", "question_type")}
    return [_critique(row, texts, values, options, meta)]


def vilreward(row: DatasetRow, options: ViLRewardOptions) -> Iterable[Sample]:
    """`question`, `image`, and steps with values: as one list of objects, or as two lists."""
    steps = as_list(row.parsed(options.steps), options.steps)
    if all(isinstance(step, str) for step in steps):
        values = as_list(row.parsed(options.values), options.values, len(steps))
        pairs = list(zip(steps, values, strict=True))
    else:
        pairs = [_one(step, options.steps) for step in steps]
    texts = [as_text(text, options.steps) for text, _ in pairs]
    return [_critique(row, texts, [as_number(v, "a step's value") for _, v in pairs], options, {})]


def _one(step: Any, column: str) -> tuple[str, float]:
    """The text and the number of an object that holds one of each."""
    values = list(as_dict(step, column).items())
    texts = [v for _, v in values if isinstance(v, str)]
    numbers = [v for _, v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(texts) != 1 or len(numbers) != 1:
        what = f"{column}: a step with {', '.join(str(name) for name, _ in values):.120}"
        raise InputError(what, remedy="one text and one number are due: which of several is meant cannot be told")
    return texts[0], numbers[0]


def _critique(
    row: DatasetRow, steps: Sequence[str], values: Sequence[float], options: Options, meta: dict[str, Any]
) -> Sample:  # fmt: skip
    if not steps:
        raise SkipRow("no steps")
    if len(steps) > MAX_STEPS:
        raise SkipRow(f"more than {MAX_STEPS} steps")
    question, images = row.text("question"), row.images("image", least=1)
    return Sample(
        id=row.name, task="step_critique", prompt=question, images=tuple(images), responses=tuple(steps),
        gold={"steps": [int(value > options.above) for value in values]},
        group_id=prompt_group(f"{question}\n{row.value('image') if isinstance(row.value('image'), str) else ''}"),
        source=row.source, meta={**{k: v for k, v in meta.items() if v is not None}, "step_values": list(values)},
    )  # fmt: skip


TABLES = ("{split}*.jsonl", "{split}*.json", *PARQUET, "*.jsonl", "*.json", "*.parquet")
VILREWARD = Recipe(
    "vilreward", "ViLReward-73K: steps with the values of a tree search (arXiv 2503.20271)", vilreward,
    licence="", tables=TABLES, splits=("train",), options=ViLRewardOptions,
    note="its columns are documented nowhere: options name them",
)  # fmt: skip
VL_PRM = Recipe(
    "vl_prm300k", "VL-PRM300K: 300k solutions with a value for each step (arXiv 2509.23250)", vl_prm,
    hub="ob11/VL-PRM300K", licence="apache-2.0", tables=("{split}/*.parquet", *PARQUET, "*.parquet"),
    splits=("train",), options=Options,
)  # fmt: skip
