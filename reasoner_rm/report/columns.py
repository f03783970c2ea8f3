"""The metrics in the table of results: those that were measured in any evaluation, with their definitions."""

from __future__ import annotations

from dataclasses import dataclass

from reasoner_rm.report.formatting import artifact_name, metric_name
from reasoner_rm.report.summary import Summary


@dataclass(frozen=True, slots=True)
class Column:
    """One metric: its field in `SplitMetrics`, its heading, and its definition."""

    key: str
    heading: str
    definition: str


def columns(summary: Summary) -> list[Column]:
    """The columns besides the main metric; a metric without a value in any evaluation has none."""
    name = metric_name(summary.task)
    answer = "verdict" if artifact_name(summary.task) == "judge" else "answer"
    candidates = (
        Column("mean_ap", "AP", "COCO average precision over all samples: mean over IoU 0.50 to 0.95 and categories"),
        Column("ap50", "AP50", "average precision at IoU 0.50"),
        Column("consistency", "consistency", "share of pairs with the same winner in both candidate orders"),
        Column("first_position", "first position", "share of verdicts for the first candidate; 50\u00a0% is unbiased"),
        Column("well_formed", "well formed", f"share of completions with one reasoning and one readable {answer}"),
        Column("contradiction", "contradiction", f"the listener, after the reasoning, prefers another {answer}"),
        Column("accuracy_agree", f"{name} if listener agrees", f"{name} where the listener prefers the same {answer}"),
        Column("accuracy_disagree", f"{name} if it disagrees", f"{name} where the listener prefers another {answer}"),
    )  # fmt: skip
    scores = [s for splits in summary.stages.values() for s in splits.values()]
    return [column for column in candidates if any(getattr(s, column.key) is not None for s in scores)]


def metric_definition(task: str) -> str:
    """The definition of the task's main metric."""
    if metric_name(task) == "F1":
        return "F1 of predicted boxes that match a gold box of their label at IoU 0.5; unreadable answers score 0"
    answers = "verdicts" if artifact_name(task) == "judge" else "answers"
    return f"share of correct {answers}; unreadable ones count as wrong"
