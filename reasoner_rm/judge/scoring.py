"""Scores of images: the stated number, its expectation over the scale, or the win rate among a caption's images."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.judge.validation import check_captions
from reasoner_rm.judge.voting import VotingJudge, mean, parsed_answers, pointwise_samples
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks.pointwise import SCALE

Mode: TypeAlias = Literal["auto", "pointwise", "expected", "win_rate"]
OnUnparsed: TypeAlias = Literal["nan", "zero", "raise"]


class Scores(NamedTuple):
    """``scores`` [N]; ``parsed_mask`` [N]: whether each could be parsed, the others are filled as ``on_unparsed`` says;
    ``scale``: the least and the greatest possible score; ``undecided`` [N]: whether a win rate is 0.5 only because none
    of the image's comparisons was decided."""

    scores: list[float]
    parsed_mask: list[bool]
    scale: tuple[float, float]
    mode: str
    undecided: list[bool]

    def normalized(self) -> list[float]:
        """The scores in 0..1; the fillers of unparsed ones are unchanged."""
        low, high = self.scale
        rows = zip(self.scores, self.parsed_mask, strict=True)
        return [(score - low) / (high - low) if parsed else score for score, parsed in rows]


def score(
    judge: VotingJudge,
    images: Sequence[MediaRef],
    captions: Sequence[str],
    mode: Mode = "auto",
    votes: int = 1,
    on_unparsed: OnUnparsed = "nan",
) -> Scores:
    """Scores of N images.

    Args:
        mode: `pointwise`: the mean of the votes' numbers; `expected`: after each reasoning the mean of
            the scale, weighted by the probability of each number; `win_rate`: the share of comparisons won against
            the other images of the same caption, both orders, 0..1; `auto`: pointwise where the judge supports it,
            else win_rate.
        on_unparsed: the filler where no vote could be parsed, or where no other image has the same caption.

    Raises:
        InputError: unequal lengths, a mode that the judge was not trained for, an unparsed score under `raise`.
    """
    check_captions(captions, len(images))
    if on_unparsed not in ("nan", "zero", "raise"):
        raise InputError(f"on_unparsed is {on_unparsed!r}", remedy="use nan, zero or raise")
    if mode == "auto":
        mode = "pointwise" if judge.supports("pointwise") else "win_rate"
    modes = {"pointwise": _pointwise, "expected": _expected, "win_rate": _win_rate}
    if mode not in modes:
        raise InputError(f"unknown mode {mode!r}", remedy=f"use auto, {', '.join(modes)}")
    scores, undecided = modes[mode](judge, images, captions, votes)
    mask = [score is not None for score in scores]
    if on_unparsed == "raise" and not all(mask):
        missing = [i for i, parsed in enumerate(mask) if not parsed]
        raise InputError(f"no score could be read for {len(missing)} of {len(mask)} images, first {missing[0]}")
    filler = 0.0 if on_unparsed == "zero" else math.nan
    scale = (0.0, 1.0) if mode == "win_rate" else (float(SCALE[0]), float(SCALE[1]))
    return Scores([filler if score is None else score for score in scores], mask, scale, mode, undecided)


Found: TypeAlias = tuple[list[float | None], list[bool]]
"""Scores, None where no vote could be parsed, and whether each is undecided."""


def _pointwise(judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int) -> Found:
    rows = judge.collect_votes(pointwise_samples(images, captions), votes)
    return [mean(parsed_answers(row)) for row in rows], [False] * len(rows)


def _expected(judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int) -> Found:
    rows = judge.collect_votes(pointwise_samples(images, captions), votes)
    samples, texts = [row[0].sample for row in rows], [[vote.completion.text for vote in row] for row in rows]
    beliefs = judge.engine.beliefs(judge.template("pointwise"), samples, texts) if rows else []
    means = [
        mean([math.fsum(float(o) * p for o, p in zip(b.options, b.probs, strict=True)) for b in row if b is not None])
        for row in beliefs
    ]
    return means, [False] * len(means)


def _win_rate(judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int) -> Found:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, caption in enumerate(captions):
        groups[caption].append(i)
    pairs = [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
    samples = [Sample("compare", "image_preference", captions[a], images=(images[a], images[b])) for a, b in pairs]
    wins: list[list[float]] = [[] for _ in images]
    for (a, b), verdict in zip(pairs, judge.verdicts(samples, votes), strict=True):
        if verdict.p_first is not None:
            wins[a].append(verdict.p_first)
            wins[b].append(1 - verdict.p_first)
    undecided = [bool(values) and all(value == 0.5 for value in values) for values in wins]
    return [mean(values) for values in wins], undecided
