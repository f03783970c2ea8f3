"""A number for an image: read from a pointwise judge, expected over its scale, or won against the rest of its group."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.judge.voting_judge import VotingJudge
from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.pointwise import SCALE

Mode: TypeAlias = Literal["auto", "pointwise", "expected", "win_rate"]
OnUnparsed: TypeAlias = Literal["nan", "zero", "raise"]


class Scores(NamedTuple):
    """``scores`` [N], ``parsed_mask`` [N]: whether a score could be read; the rest holds what ``on_unparsed`` says.

    ``scale`` are the least and the greatest possible score.
    """

    scores: list[float]
    parsed_mask: list[bool]
    scale: tuple[float, float]
    mode: str

    def normalized(self) -> list[float]:
        """The scores in 0..1; what stands where nothing could be read stays."""
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
        mode: `pointwise`: the mean of the numbers that the votes state; `expected`: after each reasoning the mean of
            the scale, weighted by the probability of each number; `win_rate`: the share of comparisons won against
            the other images of the same caption, both orders, 0..1; `auto`: pointwise where the judge can, else
            win_rate.
        on_unparsed: what stands where nothing could be read, or an image had nobody to win against.

    Raises:
        InputError: unequal lengths, a mode that the judge was not trained for, an unread score under `raise`.
    """
    check_captions(captions, len(images))
    if on_unparsed not in ("nan", "zero", "raise"):
        raise InputError(f"on_unparsed is {on_unparsed!r}", remedy="use nan, zero or raise")
    if mode == "auto":
        mode = "pointwise" if judge.supports("pointwise") else "win_rate"
    ways = {"pointwise": _pointwise, "expected": _expected, "win_rate": _win_rate}
    if mode not in ways:
        raise InputError(f"unknown mode {mode!r}", remedy=f"use auto, {', '.join(ways)}")
    found = ways[mode](judge, images, captions, votes)
    mask = [value is not None for value in found]
    if on_unparsed == "raise" and not all(mask):
        lost = [i for i, parsed in enumerate(mask) if not parsed]
        raise InputError(f"no score could be read for {len(lost)} of {len(mask)} images, first {lost[0]}")
    filler = 0.0 if on_unparsed == "zero" else math.nan
    scale = (0.0, 1.0) if mode == "win_rate" else (float(SCALE[0]), float(SCALE[1]))
    return Scores([filler if value is None else value for value in found], mask, scale, mode)


def check_captions(captions: Sequence[str], *images: int) -> None:
    """Whether there is a caption for each image of every list.

    Raises:
        InputError: other numbers, or one text, whose letters would be taken for captions.
    """
    if isinstance(captions, str):
        raise InputError("one caption where several are due", remedy="give a list, one for each image")
    if any(n != len(captions) for n in images):
        raise InputError(f"{len(captions)} captions for {' and '.join(map(str, images))} images")


def pointwise_samples(images: Sequence[MediaRef], prompts: Sequence[str]) -> list[Sample]:
    return [Sample("score", "pointwise", p, images=(image,)) for image, p in zip(images, prompts, strict=True)]


def read(ballots: Sequence[Vote]) -> list[Any]:
    """What the readable votes state, as their task reads it."""
    stated = [
        get_task(b.sample.task).parse_answer(b.parsed.answer, b.sample) for b in ballots if b.parsed.answer is not None
    ]
    return [value for value in stated if value is not None]


def mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _pointwise(
    judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int
) -> list[float | None]:
    return [mean(read(row)) for row in judge.ballots(pointwise_samples(images, captions), votes)]


def _expected(
    judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int
) -> list[float | None]:
    rows = judge.ballots(pointwise_samples(images, captions), votes)
    samples, texts = [row[0].sample for row in rows], [[b.completion.text for b in row] for row in rows]
    beliefs = judge.engine.beliefs(judge.template("pointwise"), samples, texts) if rows else []
    return [
        mean([math.fsum(float(o) * p for o, p in zip(b.options, b.probs, strict=True)) for b in row if b])
        for row in beliefs
    ]


def _win_rate(
    judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], votes: int
) -> list[float | None]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, caption in enumerate(captions):
        groups[caption].append(i)
    pairs = [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
    asked = [Sample("compare", "image_preference", captions[a], images=(images[a], images[b])) for a, b in pairs]
    won: list[list[float]] = [[] for _ in images]
    for (a, b), verdict in zip(pairs, judge.verdicts(asked, votes), strict=True):
        if verdict.p_first is not None:
            won[a].append(verdict.p_first)
            won[b].append(1 - verdict.p_first)
    return [mean(values) for values in won]
