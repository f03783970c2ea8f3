"""Which figures the table shows: those that were measured anywhere, in the words of the task."""

from __future__ import annotations

from dataclasses import dataclass

from reasoner_rm.report.summary import Summary
from reasoner_rm.report.words import artifact_name, measure


@dataclass(frozen=True, slots=True)
class Column:
    """One figure: its name in `Scores`, its heading, and what it means."""

    key: str
    heading: str
    meaning: str


def columns(summary: Summary) -> list[Column]:
    """The columns beside accuracy. What a task does not have, or nobody was asked about, is no hole in the table."""
    name = measure(summary.task)
    what = "verdict" if artifact_name(summary.task) == "judge" else "answer"
    every = (
        Column("mean_ap", "AP", "average precision over all samples, mean over IoU 0.50 to 0.95 and categories"),
        Column("ap50", "AP50", "the same at IoU 0.50 alone"),
        Column("consistency", "consistency", "the same candidate wins in both orders"),
        Column("first_position", "first position", "verdicts for the candidate shown first; 50\u00a0% is unbiased"),
        Column("well_formed", "well formed", f"exactly one reasoning and one readable {what}"),
        Column("contradiction", "contradiction", "after the same reasoning, the listener would have chosen otherwise"),
        Column("accuracy_agree", f"{name} if the listener agrees", f"where the listener would give the same {what}"),
        Column("accuracy_disagree", f"{name} if it disagrees", "and where it would give another"),
    )
    scores = [s for splits in summary.stages.values() for s in splits.values()]
    return [column for column in every if any(getattr(s, column.key) is not None for s in scores)]


def meaning(task: str) -> str:
    """What the task's own measure means."""
    if measure(task) == "F1":
        return "boxes that find an object of their label at IoU 0.5, with a 95\u00a0% interval; unreadable is 0"
    what = "verdicts" if artifact_name(task) == "judge" else "answers"
    return f"right {what}, with a 95\u00a0% interval; an unreadable one is wrong"
