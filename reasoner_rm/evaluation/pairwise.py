"""Whether verdicts on pairs are right, under every rule for orders, votes, ties and unreadable answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner_rm.evaluation.protocol import Protocol, gold_share
from reasoner_rm.evaluation.protocol_options import Tie
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import PairVerdict
from reasoner_rm.evaluation.votes import AnsweredItem, Vote
from reasoner_rm.schema import Sample
from reasoner_rm.utils.seeding import stable_seed


@dataclass(frozen=True, slots=True)
class ParsedVote:
    """A vote after it was read: ``said`` in the item's own order, None if unreadable; ``margin`` where the judge
    scores, how much more the first candidate got."""

    vote: Vote
    said: PairVerdict | None
    margin: float | None = None

    @property
    def as_shown(self) -> PairVerdict | None:
        return self.said.swapped if self.said is not None and self.vote.order == "swapped" else self.said


def read(item: AnsweredItem, vote: Vote, protocol: Protocol) -> ParsedVote:
    """A vote as the protocol reads it."""
    value: object = vote.scores
    if value is None and vote.text is not None:
        value = item.said(vote, protocol.reader)
    elif value is None and vote.choice is not None:
        value = PairVerdict(vote.choice)
    if isinstance(value, tuple):
        margin = float(value[0] - value[1]) * (1 if vote.order == "given" else -1)
        return ParsedVote(vote, None if math.isnan(margin) else by_margin(margin, protocol.threshold), margin)
    said = value if isinstance(value, PairVerdict) else None
    return ParsedVote(vote, said.swapped if said is not None and vote.order == "swapped" else said)


def by_margin(margin: float, threshold: float) -> PairVerdict:
    """Which candidate a margin prefers; none up to the threshold."""
    return PairVerdict.TIE if abs(margin) <= threshold else PairVerdict.FIRST if margin > 0 else PairVerdict.SECOND


def gold_of(sample: Sample) -> PairVerdict:
    """What the gold says; ``gold.tie`` may tell good ties from bad ones."""
    p = gold_share(sample)
    if p != 0.5:
        return PairVerdict.FIRST if p > 0.5 else PairVerdict.SECOND
    return {"good": PairVerdict.GOOD, "bad": PairVerdict.BAD}.get(str(sample.gold.get("tie")), PairVerdict.TIE)


def credit(said: PairVerdict, gold: PairVerdict, tie: Tie) -> float | None:
    """What a verdict is worth, 0..1; None if the row does not count."""
    match tie:
        case "drop" | "wrong" if gold.is_tie:
            return None
        case "drop" if said.is_tie:
            return None
        case "right" if gold.is_tie or said.is_tie:
            return 1.0
        case "half" if gold.is_tie != said.is_tie:
            return 0.5
        case "half":
            return float(said == gold or (gold.is_tie and said.is_tie))
        case "exact" | "calibrated":
            plain = PairVerdict.TIE in (said, gold) and said.is_tie and gold.is_tie
            return float(said == gold or plain)
    return float(said == gold)


def readings(item: AnsweredItem, protocol: Protocol) -> list[ParsedVote] | None:
    """The votes that count, read; None if an unreadable one spoils the item."""
    found = [read(item, vote, protocol) for vote in protocol.counted(item)]
    match protocol.unparsed:
        case "exclude":
            return [r for r in found if r.said is not None]
        case "spoil":
            return None if any(r.said is None for r in found) else found
        case "coin":
            return [r if r.said is not None else _tossed(r, item.sample, protocol) for r in found]
    return found


def _tossed(reading: ParsedVote, sample: Sample, protocol: Protocol) -> ParsedVote:
    """A coin's verdict on what was shown."""
    face = PairVerdict(stable_seed("coin", protocol.seed, sample.id, reading.vote.order, reading.vote.number) & 1)
    return ParsedVote(reading.vote, face.swapped if reading.vote.order == "swapped" else face)


def verdict(found: Sequence[ParsedVote], protocol: Protocol) -> PairVerdict | None:
    """What an item's votes say together; None if they say nothing (`strict`: if no verdict has more than half)."""
    known = [r for r in found if r.said is not None]
    if not known:
        return None
    if any(r.margin is not None for r in known):
        return by_margin(margin(known), protocol.threshold)
    tally = Counter(r.said for r in known).most_common(2)
    first, count = tally[0]
    if protocol.combine == "strict":
        return first if count > len(found) / 2 else None
    return PairVerdict.TIE if len(tally) > 1 and tally[1][1] == count else first


def margin(known: Sequence[ParsedVote]) -> float:
    """How much more the first candidate got: the mean difference of scores, or of the shares of votes."""
    each = {PairVerdict.FIRST: 1.0, PairVerdict.SECOND: -1.0}
    values = [each.get(r.said, 0.0) if r.margin is None else r.margin for r in known if r.said is not None]
    return math.fsum(values) / len(values)


def score(item: AnsweredItem, protocol: Protocol) -> float | None:
    """How right an item is, 0..1; None if it does not count."""
    gold = gold_of(item.sample)
    if gold.is_tie and protocol.tie in ("drop", "wrong"):
        return None
    found = readings(item, protocol)
    if not found:
        return None
    if protocol.combine == "mean":
        each = [0.0 if r.said is None else credit(r.said, gold, protocol.tie) for r in found]
        known = [value for value in each if value is not None]
        return math.fsum(known) / len(known) if known else None
    said = verdict(found, protocol)
    if said is None:
        return None if protocol.combine == "strict" else 0.0
    return credit(said, gold, protocol.tie)


def pairs(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """The measure of pairs: accuracy."""
    samples = [item.sample for item in items]
    if protocol.tie == "calibrated":
        return ItemScores.of_scores(samples, _calibrated(items, protocol))
    return ItemScores.of_scores(samples, [score(item, protocol) for item in items])


def _calibrated(items: Sequence[AnsweredItem], protocol: Protocol) -> list[float | None]:
    """Scores under the ε that makes most of them right; unreadable items are wrong, or left out where votes are."""
    margins, gold = [], []
    for item in items:
        known = [r for r in readings(item, protocol) or () if r.said is not None]
        margins.append(margin(known) if known else math.nan)
        gold.append({PairVerdict.FIRST: 1, PairVerdict.SECOND: -1}.get(gold_of(item.sample), 0))
    m, h = np.array(margins), np.array(gold)
    epsilon = best_epsilon(m, h)
    said = np.where(np.abs(m) <= epsilon, 0, np.sign(m))
    unread = 0.0 if protocol.unparsed == "wrong" else None
    return [unread if math.isnan(x) else float(s == g) for x, s, g in zip(m, said, h, strict=True)]


def best_epsilon(margins: np.ndarray, gold: np.ndarray) -> float:
    """The |margin| up to which calling a tie makes most pairs right, the smallest of equals (arXiv 2305.14324).

    Args:
        margins: [N], NaN where nothing was read.
        gold: [N] of 1 (the first is better), -1, 0 (a tie).
    """
    known = ~np.isnan(margins)
    m, h = margins[known], gold[known]
    if not len(m):
        return 0.0
    size, place = np.unique(np.append(np.abs(m), 0.0), return_inverse=True)
    change = (h == 0).astype(float) - (h * m > 0)  # what calling a pair a tie adds to the right ones
    gained = np.cumsum(np.bincount(place[:-1], weights=change, minlength=len(size)))
    return float(size[int(np.argmax(gained))])
