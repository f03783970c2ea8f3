"""What is reached without looking: the same rows, the same protocol, verdicts that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.votes import AnsweredItem, Vote
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.seeding import stable_seed

Pick = Callable[[Sample, Vote], int]
"""Which candidate, as shown."""


def always_first(sample: Sample, vote: Vote) -> int:
    return 0


def longer_wins(sample: Sample, vote: Vote) -> int:
    """The answer with more characters; of two that are equally long, the first."""
    first, second = sample.responses
    return int(len(second) > len(first))


def coin(sample: Sample, vote: Vote) -> int:
    return stable_seed("baseline", sample.id, vote.order, vote.number) & 1


PICKS: Mapping[str, Pick] = {"always first": always_first, "longer wins": longer_wins, "random": coin}


def pairwise_baselines(items: Sequence[AnsweredItem], protocol: Protocol) -> dict[str, list[AnsweredItem]]:
    """The items with the votes of each baseline that can be asked about them."""
    if not items or any(item.sample.task not in PAIRWISE_TASKS for item in items):
        return {}
    answers = all(item.sample.task == "response_preference" for item in items)
    return {name: [_guessed(i, protocol, pick) for i in items] for name, pick in PICKS.items()
            if pick is not longer_wins or answers}  # fmt: skip


def _guessed(item: AnsweredItem, protocol: Protocol, pick: Pick) -> AnsweredItem:
    blank = [Vote(order, number) for order, number in protocol.asked(item.sample)]
    return item.with_votes([
        Vote(v.order, v.number, choice=pick(item.shown(v.order), v)) for v in blank
    ])  # fmt: skip


def constant_baseline(
    items: Sequence[AnsweredItem], protocol: Protocol, say: Callable[[Sample], str]
) -> list[AnsweredItem]:
    """The items with one fixed answer each, for benchmarks that compare nothing."""
    return [
        item.with_votes([Vote(order, number, say(item.sample)) for order, number in protocol.asked(item.sample)])
        for item in items
    ]
