"""From votes to a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import PAIRWISE_TASKS, Belief, Verdict, swap_labels


def tally(ballots: Sequence[Vote]) -> Verdict:
    """The verdict of one sample's votes. Unreadable votes count for no candidate."""
    votes = tuple(b.candidate for b in ballots)
    by_order = [_majority([b.candidate for b in ballots if b.order == order]) for order in ("given", "swapped")]
    both = any(b.order == "swapped" for b in ballots)
    preferred = _majority(votes)
    readable = [v for v in votes if v is not None]
    speaker = next((b for b in ballots if b.candidate is not None and b.candidate == preferred), ballots[0])
    reasoning = speaker.parsed.thinking or ""
    if speaker.order == "swapped":
        reasoning = swap_labels(reasoning, PAIRWISE_TASKS[speaker.sample.task].noun)
    return Verdict(
        preferred=preferred,
        p_first=readable.count(0) / len(readable) if readable else None,
        reasoning=reasoning,
        consistent=by_order[0] is not None and by_order[0] == by_order[1] if both else None,
        votes=votes,
        parsed=bool(readable),
    )


def with_probabilities(
    verdict: Verdict, ballots: Sequence[Vote], beliefs: Sequence[Belief | None], temperature: float
) -> Verdict:
    """The same verdict with ``p_first`` from the verdict token's probabilities: their mean over votes, each
    in the caller's order and softened by ``temperature``. None where no vote has any."""
    sure = [
        tempered(belief.probs[0] if ballot.order == "given" else belief.probs[1], temperature)
        for ballot, belief in zip(ballots, beliefs, strict=True)
        if belief is not None
    ]
    return dataclasses.replace(verdict, p_first=math.fsum(sure) / len(sure) if sure else None)


def tempered(p: float, temperature: float) -> float:
    """A probability whose log-odds are divided by ``temperature``."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    odds = math.log(p / (1 - p)) / temperature
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, odds))))


def _majority(votes: Sequence[int | None]) -> int | None:
    first, second = votes.count(0), votes.count(1)
    return None if first == second else int(second > first)
