"""What is right, in words."""

from __future__ import annotations

from reasoner_rm.data.sample_view import card
from reasoner_rm.report.words import percent
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import get_task


def gold_in_words(sample: Sample) -> str:
    """A comparison's verdict, with the share of votes where they were not all alike; else what the gold states."""
    if sample.task not in PAIRWISE_TASKS:
        return card(sample).gold
    task = get_task(sample.task)
    verdict = task.reference_answer(sample)
    share = max(task.gold_probs(sample) or (1.0,))
    return "a tie" if verdict is None else verdict if share == 1 else f"{verdict} ({percent(share, 0)})"
