"""The accuracy of verdicts on pairs, under every rule for orders, votes, ties and unreadable answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol, Tie, gold_share
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import PairVerdict
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.seeding import stable_seed


@dataclass(frozen=True, slots=True)
class ParsedVote:
    """A vote after parsing. ``verdict`` is in the item's own order, None if unreadable. ``margin`` is the first
    candidate's score minus the second's, where the judge gives scores."""

    prediction: Prediction
    verdict: PairVerdict | None
    margin: float | None = None

    @property
    def as_shown(self) -> PairVerdict | None:
        """The verdict in the order that was shown."""
        swapped = self.verdict is not None and self.prediction.order == "swapped"
        return self.verdict.swapped if self.verdict is not None and swapped else self.verdict


def is_pairwise(item: AnsweredItem) -> bool:
    return item.sample.task in PAIRWISE_TASKS


def parse_vote(item: AnsweredItem, prediction: Prediction, protocol: Protocol) -> ParsedVote:
    """A vote as the protocol's parser reads it."""
    value: object = prediction.scores
    if value is None and prediction.text is not None:
        value = item.parse(prediction, protocol.parser)
    elif value is None and prediction.choice is not None:
        value = PairVerdict(prediction.choice)
    if isinstance(value, tuple):
        margin = float(value[0] - value[1]) * (1 if prediction.order == "given" else -1)
        verdict = None if math.isnan(margin) else verdict_by_margin(margin, protocol.threshold)
        return ParsedVote(prediction, verdict, margin)
    shown = value if isinstance(value, PairVerdict) else None
    return ParsedVote(prediction, shown.swapped if shown is not None and prediction.order == "swapped" else shown)


def verdict_by_margin(margin: float, threshold: float) -> PairVerdict:
    """The candidate with the greater score; a tie up to the threshold."""
    return PairVerdict.TIE if abs(margin) <= threshold else PairVerdict.FIRST if margin > 0 else PairVerdict.SECOND


def gold_verdict(sample: Sample) -> PairVerdict:
    """The gold's verdict; ``gold.tie`` may tell good ties from bad ones."""
    p = gold_share(sample)
    if p != 0.5:
        return PairVerdict.FIRST if p > 0.5 else PairVerdict.SECOND
    return {"good": PairVerdict.GOOD, "bad": PairVerdict.BAD}.get(str(sample.gold.get("tie")), PairVerdict.TIE)


def credit(verdict: PairVerdict, gold: PairVerdict, tie: Tie) -> float | None:
    """What a verdict is worth under a tie rule of `Protocol`, 0..1; None if the row does not count."""
    match tie:
        case "drop" | "wrong" if gold.is_tie:
            return None
        case "drop" if verdict.is_tie:
            return None
        case "right" if gold.is_tie or verdict.is_tie:
            return 1.0
        case "half" if gold.is_tie != verdict.is_tie:
            return 0.5
        case "half":
            return float(verdict == gold or (gold.is_tie and verdict.is_tie))
        case "exact" | "calibrated":
            plain = PairVerdict.TIE in (verdict, gold) and verdict.is_tie and gold.is_tie
            return float(verdict == gold or plain)
    return float(verdict == gold)


def vote_score(item: AnsweredItem, prediction: Prediction, protocol: Protocol) -> float | None:
    """What one vote is worth, 0..1; an unreadable one 0. None if the gold does not count."""
    gold, verdict = gold_verdict(item.sample), parse_vote(item, prediction, protocol).verdict
    if gold.is_tie and protocol.tie in ("drop", "wrong"):
        return None
    return 0.0 if verdict is None else credit(verdict, gold, protocol.tie)


def parsed_votes(item: AnsweredItem, protocol: Protocol) -> list[ParsedVote]:
    """The votes that count, parsed."""
    votes = [parse_vote(item, prediction, protocol) for prediction in protocol.counted(item)]
    match protocol.unparsed:
        case "exclude":
            return [vote for vote in votes if vote.verdict is not None]
        case "coin":
            return [vote if vote.verdict is not None else _by_coin(vote, item.sample, protocol) for vote in votes]
    return votes


def _by_coin(vote: ParsedVote, sample: Sample, protocol: Protocol) -> ParsedVote:
    """A random verdict on the candidates as shown."""
    order, number = vote.prediction.order, vote.prediction.number
    verdict = PairVerdict(stable_seed("coin", protocol.seed, sample.id, order, number) & 1)
    return ParsedVote(vote.prediction, verdict.swapped if order == "swapped" else verdict)


def majority_verdict(votes: Sequence[ParsedVote], protocol: Protocol) -> PairVerdict | None:
    """The verdict of an item's votes together; None if none is readable (`strict`: if none has more than half)."""
    readable = [vote for vote in votes if vote.verdict is not None]
    if not readable:
        return None
    if any(vote.margin is not None for vote in readable):
        return verdict_by_margin(mean_margin(readable), protocol.threshold)
    counts = Counter(vote.verdict for vote in readable).most_common(2)
    first, count = counts[0]
    if protocol.combine == "strict":
        return first if count > len(votes) / 2 else None
    return PairVerdict.TIE if len(counts) > 1 and counts[1][1] == count else first


def mean_margin(votes: Sequence[ParsedVote]) -> float:
    """How much more the first candidate got: the mean difference of scores, or of the shares of votes."""
    worth = {PairVerdict.FIRST: 1.0, PairVerdict.SECOND: -1.0}
    values = [worth.get(v.verdict, 0.0) if v.margin is None else v.margin for v in votes if v.verdict is not None]
    return math.fsum(values) / len(values)


def item_score(item: AnsweredItem, protocol: Protocol) -> float | None:
    """How right an item is, 0..1; None if it does not count."""
    gold = gold_verdict(item.sample)
    if gold.is_tie and protocol.tie in ("drop", "wrong"):
        return None
    votes = parsed_votes(item, protocol)
    if not votes:
        return None
    if protocol.combine == "mean":
        credits = [0.0 if vote.verdict is None else credit(vote.verdict, gold, protocol.tie) for vote in votes]
        counted = [value for value in credits if value is not None]
        return math.fsum(counted) / len(counted) if counted else None
    verdict = majority_verdict(votes, protocol)
    if verdict is None:
        return None if protocol.combine == "strict" else 0.0
    return credit(verdict, gold, protocol.tie)


def pairwise_accuracy(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """The metric of pairs."""
    samples = [item.sample for item in items]
    if protocol.tie == "calibrated":
        return ItemScores.of_scores(samples, _tie_calibrated(items, protocol))
    return ItemScores.of_scores(samples, [item_score(item, protocol) for item in items])


def _tie_calibrated(items: Sequence[AnsweredItem], protocol: Protocol) -> list[float | None]:
    """Scores under the ε that makes most of them right; unreadable items are wrong, or left out where votes are."""
    margins, golds = [], []
    for item in items:
        readable = [vote for vote in parsed_votes(item, protocol) if vote.verdict is not None]
        margins.append(mean_margin(readable) if readable else math.nan)
        golds.append({PairVerdict.FIRST: 1, PairVerdict.SECOND: -1}.get(gold_verdict(item.sample), 0))
    m, h = np.array(margins), np.array(golds)
    epsilon = best_epsilon(m, h)
    verdicts = np.where(np.abs(m) <= epsilon, 0, np.sign(m))
    unread = 0.0 if protocol.unparsed == "wrong" else None
    return [unread if math.isnan(x) else float(v == g) for x, v, g in zip(m, verdicts, h, strict=True)]


def best_epsilon(margins: np.ndarray, gold: np.ndarray) -> float:
    """The |margin| up to which calling a tie makes most pairs right, the smallest of equals (arXiv 2305.14324).

    Args:
        margins: [N], NaN where nothing was read.
        gold: [N] of 1 (the first is better), -1, 0 (a tie).
    """
    readable = ~np.isnan(margins)
    m, h = margins[readable], gold[readable]
    if not len(m):
        return 0.0
    sizes, index = np.unique(np.append(np.abs(m), 0.0), return_inverse=True)
    change = (h == 0).astype(float) - (h * m > 0)  # what calling a pair a tie adds to the right ones
    gained = np.cumsum(np.bincount(index[:-1], weights=change, minlength=len(sizes)))
    return float(sizes[int(np.argmax(gained))])
