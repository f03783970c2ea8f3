"""What a sample is measured against: its votes, or the truth where a world knows it."""

from __future__ import annotations

import dataclasses

from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import get_task


def with_ground_truth(sample: Sample) -> Sample:
    """The comparison with its votes replaced by ``meta.truth`` (1 or 2, in shown order), where that is stated.

    Tied votes stay a tie: a pair on which people were divided says nothing about a judge. Other samples stay as they
    are.
    """
    truth = sample.meta.get("truth")
    if (
        sample.task not in PAIRWISE_TASKS
        or truth not in (1, 2)
        or get_task(sample.task).reference_answer(sample) is None
    ):
        return sample
    return dataclasses.replace(sample, gold={"p_first": 2.0 - truth})
