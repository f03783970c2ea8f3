"""VLRMBench (arXiv 2503.07478): twelve tasks of judging how a vision-language model reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reasoner_rm.data.row import DatasetRow, SkipRow, as_list
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.answer_metrics import confusion_cells, mean_score, rare_weighted_f1
from reasoner_rm.evaluation.benchmark import Benchmark, Grading, compared, tables
from reasoner_rm.evaluation.intervals import Array, mean
from reasoner_rm.evaluation.pairwise import item_score, parse_vote
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import two_scores, whole_numbers, yes_and_no
from reasoner_rm.schema import Sample

STEPS = {
    "step_correctness": "an error", "redundant_det": "redundancy", "most_confidence": "an error",
    "existence_hallucination": "a hallucinated thing", "attribute_hallucination": "a hallucinated attribute",
    "detail_error": "a wrong number or sign", "location_error": "a wrong location",
    "image_ref_error": "a reference to the wrong image",
}  # fmt: skip
GRADED = ("error_reason_analysis", "error_correction")
TASKS = (*STEPS, "multi_solution", "foresight", *GRADED)


def read(row: DatasetRow) -> Iterable[Sample]:
    """The file's name is the task, or else the row's `category`.

    `reasoning_error` is the reasoning that is judged, a list of steps or one text; `task_gt` is 0 or 1 a step (1 =
    faulty), a bool (foresight) or a text. Rows with `error_info` are left out, as in the released script.
    """
    file = row.name.rpartition("-")[0]
    task = file if file in TASKS else str(row.optional("category"))
    if task not in TASKS:
        raise InputError(f"{file}.jsonl is no task of VLRMBench", remedy=f"there are {', '.join(TASKS)}")
    if "error_info" in row.values:
        raise SkipRow("error_info")
    folder = next((f for f in ("meta_data/Image", "Image") if row.media.has(f)), "")
    images = tuple(row.images("image", least=1, folder=folder))
    name, question, by = f"{task}-{row.value('id')}", row.text("question"), {"group": task}
    common: dict[str, Any] = {"images": images, "group_id": name, "source": row.source}
    if task == "multi_solution":
        solutions = [_joined(row, column) for column in ("step_list", "reasoning_error")]
        yield compared(
            row, name, "response_preference", question, solutions, 1.0, by=by, images=images,
            meta={"prompt": "two_scores"},
        )  # fmt: skip
        return
    faults = as_list(row.value("task_gt"), "task_gt") if task in STEPS else []
    steps = tuple(map(str, _steps(row, len(faults))))
    if task in STEPS:
        gold = [1 - int(bool(v)) for v in as_list(faults, "task_gt", len(steps))]
        meta = {"by": by, "prompt": "vlrmbench_steps", "fault": STEPS[task]}
        yield Sample(name, "step_critique", question, responses=steps, gold={"steps": gold}, meta=meta, **common)
    elif task == "foresight":
        gold_answer = {"answer": "yes" if row.value("task_gt") else "no", "kind": "choice"}
        meta = {"by": by, "choices": ["yes", "no"], "prompt": "vlrmbench_foresight"}
        yield Sample(name, "qa", question, responses=steps, gold=gold_answer, meta=meta, **common)
    else:
        meta = {"by": by, "prompt": f"vlrmbench_{task}"}
        gold_text = {"answer": _joined(row, "task_gt")[:4000], "kind": "text"}
        yield Sample(name, "qa", question, responses=steps, gold=gold_text, meta=meta, **common)


def _steps(row: DatasetRow, count: int) -> list[Any]:
    column = "reasoning_error" if row.optional("reasoning_error") is not None else "step_list"
    value = row.value(column)
    return list(value) if isinstance(value, (list, tuple)) else steps_of(str(value), count)


def steps_of(text: str, count: int = 0) -> list[str]:
    """The steps of a text in which `STEP1:`, `STEP2:` and so on begin them; the text as one step without any.

    Args:
        count: their number where it is known. Then a step may also begin within a line, and the last one is the rest.

    >>> steps_of("STEP1: It is red.\\n\\nSTEP2:  So it is\\na ball.")
    ['STEP1: It is red.', 'STEP2:  So it is\\na ball.']
    """
    starts: list[int] = []
    while not count or len(starts) < count:
        mark, after = f"STEP ?{len(starts) + 1}:", starts[-1] + 1 if starts else 0
        found = re.compile(f"^{mark}", re.MULTILINE).search(text, after)
        if found is None and count:
            found = re.compile(mark).search(text, after)
        if found is None:
            break
        starts.append(found.start())
    ends = [*starts[1:], len(text)]
    return [text[start:end].strip() for start, end in zip(starts or [0], ends, strict=True)]


def _joined(row: DatasetRow, column: str) -> str:
    value = row.value(column)
    return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def task_of(sample: Sample) -> str:
    return str(sample.meta["by"]["group"])


def task_parser(text: str, sample: Sample) -> Any:
    """Steps as whole numbers, solutions as two scores, foresight as yes and no, analyses as they are."""
    if sample.task == "step_critique":
        return whole_numbers(text, sample)
    if sample.task == "response_preference":
        return two_scores(text, sample)
    return yes_and_no(text, sample) if task_of(sample) == "foresight" else text


def foresees(value: Any, sample: Sample) -> float:
    """A text that says yes and no is right either way, as in the released script."""
    right = sample.gold["answer"] == "yes"
    return float(value == sample.gold["answer"] if isinstance(value, str) else right in value)


def weighted_f1(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """F1 of either class weighted by the share of the other, over all steps of a task; shares of right answers."""
    columns = np.zeros((len(items), 6))
    scores: list[float | None] = []
    for row, item in zip(columns, items, strict=True):
        if task_of(item.sample) in STEPS:
            row[:4] = _cells(item, protocol)
            scores.append(float(row[0] + row[3]) / float(row[:4].sum()))
            continue
        value = _score(item, protocol)
        scores.append(value)
        row[4:] = (0.0, 0.0) if value is None else (value, 1.0)
    return ItemScores([i.sample for i in items], scores, columns, {"score": _either})


def _either(sums: Array) -> Array:
    """Of one task; tasks of both kinds together have no figure but their mean."""
    steps, shares = rare_weighted_f1(sums), mean(sums[..., 4:])
    return np.asarray(np.where(np.isnan(shares), steps, np.where(sums[..., :4].sum(-1) > 0, np.nan, shares)))


def _cells(item: AnsweredItem, protocol: Protocol) -> Array:
    """Counts of faulty and sound steps over the votes; no number at all finds no fault."""
    gold = [1 - int(v) for v in item.sample.gold["steps"]]
    total = np.zeros(4)
    for vote in protocol.counted(item):
        value = item.parse(vote, protocol.parser)
        faulty = [0] * len(gold) if value is None else [1 - v for v in value]
        total += confusion_cells((faulty + [0] * len(gold))[: len(gold)], gold)
    return total


def _score(item: AnsweredItem, protocol: Protocol) -> float | None:
    match task_of(item.sample):
        case "multi_solution":
            return item_score(item, protocol)
        case "foresight":
            return mean_score(item, protocol, foresees)
    return _graded(item)


def _graded(item: AnsweredItem) -> float | None:
    """Whether a grader, asked in both orders, scores the answer strictly above the published one; None ungraded."""
    wins = []
    for vote in item.predictions:
        if vote.grades:
            pair = AnsweredItem(grading_sample(item.sample, vote.text or ""), vote.grades)
            rules = Protocol("grades", parser=two_scores)
            margins = [parse_vote(pair, grade, rules).margin or 0.0 for grade in vote.grades]
            wins.append(float(sum(margins) < 0))
    return sum(wins) / len(wins) if wins else None


def grading_sample(sample: Sample, answer: str) -> Sample:
    """The published analysis first, the judge's second."""
    return Sample(
        sample.id, "response_preference", sample.prompt, images=sample.images,
        responses=(str(sample.gold["answer"]), answer or "(no answer)"), gold={"p_first": 0.5},
        meta={"prompt": "two_scores"},
    )  # fmt: skip


def grading(sample: Sample) -> Grading | None:
    return Grading(grading_sample, both=True) if task_of(sample) in GRADED else None


VLRMBENCH = Benchmark(
    "vlrmbench",
    "VLRMBench",
    read,
    columns=("id", "image", "question"),
    hub="Winston-Yuan/VLRMBench",
    licence="apache-2.0",
    tables=tuple(f"{folder}{name}" for folder in ("benchmark_data/", "") for name in ("*.jsonl",)) + tables("*.jsonl"),
    grading=grading,
    protocols=(
        Protocol(
            "official", "the mean over tasks: F1 that favours the rare class, solutions scored in both orders (equal "
            "is a loss), foresight by keyword, analyses by a grader in both orders", combine="majority",
            average="macro", template="vlrmbench_steps", parser=task_parser, metric=weighted_f1,
        ),
    ),
)  # fmt: skip
