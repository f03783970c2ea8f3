"""The average precision of everything that was found on a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reasoner_rm.evaluation.scored_vote import ScoredVote
from reasoner_rm.rewards.boxes import gold_boxes, normalize_labels
from reasoner_rm.tasks.average_precision import average_precision
from reasoner_rm.tasks.boxes import Boxes

NOTHING = Boxes(np.zeros((0, 4)), ())


def mean_and_ap50(rows: Sequence[Sequence[ScoredVote]]) -> tuple[float | None, float | None]:
    """COCO's AP (mean over IoU 0.50:0.05:0.95 and categories) and AP50, 0..1, over each sample's first ballot.

    Boxes have no confidence, so the order in which they were written decides. An unreadable answer found nothing.
    None where no detection sample has anything to find.
    """
    asked = [row[0] for row in rows if row[0].ballot.sample.task == "detection"]
    known = [(j.boxes or NOTHING, gold) for j in asked if (gold := gold_boxes(j.ballot.sample)) is not None]
    at = average_precision(
        [normalize_labels(found) for found, _ in known], [normalize_labels(gold) for _, gold in known]
    )
    return (None, None) if np.isnan(at).any() else (round(float(at.mean()), 4), round(float(at[0]), 4))
