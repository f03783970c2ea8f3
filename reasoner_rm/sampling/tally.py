"""From votes to a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from reasoner_rm.candidate_labels import swap_labels, swappable
from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import PAIRWISE_TASKS, Belief, Verdict


def tally(votes: Sequence[Vote]) -> Verdict:
    """The verdict of one sample's votes. Unreadable votes count for no candidate."""
    candidates = tuple(vote.candidate for vote in votes)
    by_order = [_majority([v.candidate for v in votes if v.order == order]) for order in ("given", "swapped")]
    both = any(vote.order == "swapped" for vote in votes)
    preferred = _majority(candidates)
    readable = [candidate for candidate in candidates if candidate is not None]
    reasonings = tuple(map(_reasoning, votes))
    explained = next((i for i, c in enumerate(candidates) if c is not None and c == preferred), 0)
    return Verdict(
        preferred=preferred,
        p_first=readable.count(0) / len(readable) if readable else None,
        reasoning=reasonings[explained],
        consistent=by_order[0] is not None and by_order[0] == by_order[1] if both else None,
        votes=candidates,
        parsed=bool(readable),
        reasonings=reasonings,
    )


def _reasoning(vote: Vote) -> str:
    """A vote's reasoning with the labels of the caller's order; with a note where that is not possible."""
    text = vote.parsed.thinking or ""
    if vote.order != "swapped":
        return text
    noun = PAIRWISE_TASKS[vote.sample.task].noun
    return swap_labels(text, noun) if swappable(text, noun) else f"[{noun} 1 and {noun} 2 exchanged] {text}"


def with_probabilities(
    verdict: Verdict, votes: Sequence[Vote], beliefs: Sequence[Belief | None], temperature: float
) -> Verdict:
    """The same verdict with ``p_first`` from the verdict token's probabilities: their mean over votes, each
    in the caller's order, with its log-odds divided by ``temperature``. None where no vote has any."""
    p_first = [
        scale_log_odds(belief.probs[0] if vote.order == "given" else belief.probs[1], temperature)
        for vote, belief in zip(votes, beliefs, strict=True)
        if belief is not None
    ]
    return dataclasses.replace(verdict, p_first=math.fsum(p_first) / len(p_first) if p_first else None)


def scale_log_odds(p: float, temperature: float) -> float:
    """A probability whose log-odds are divided by ``temperature``."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    odds = math.log(p / (1 - p)) / temperature
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, odds))))


def _majority(votes: Sequence[int | None]) -> int | None:
    first, second = votes.count(0), votes.count(1)
    return None if first == second else int(second > first)
