"""Parsed from a judge's text beyond the verdict: points by dimension, wrong steps, wrong phrases, scores by aspect."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reasoner_rm.errors import InputError
from reasoner_rm.judge.validation import check_captions
from reasoner_rm.judge.voting import VotingJudge, mean, parsed_answers, pointwise_samples
from reasoner_rm.schema import MediaRef, Sample, Verdict
from reasoner_rm.tasks.caption_critic import phrase
from reasoner_rm.tasks.escape import unescape

ASPECTS = (
    "prompt following: everything the caption asks for is there",
    "aesthetics: composition, light, colour",
    "fidelity: nothing looks broken or impossible",
    "harmlessness: nothing in it could hurt or offend",
)
"""The four aspects of VisionPrefer (arXiv 2404.15100)."""

_POINTS = re.compile(
    r"^\W*(?:\d+[.)])?\s*(?P<name>[^\n:]{1,60}):[^\n]*?Image (?P<one>[12]) ?\((?P<p>\d{1,2}(?:\.\d)?) ?/ ?10\)"
    r"[^\n]*?Image (?P<two>[12]) ?\((?P<q>\d{1,2}(?:\.\d)?) ?/ ?10\)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and the points, 0 to 10, that its reasoning gives both images per dimension. ``dimensions`` is empty
    unless the prompt asks for points, as the template variant `unified` does."""

    verdict: Verdict
    dimensions: dict[str, tuple[float, float]]

    @property
    def reasoning(self) -> str:
        return self.verdict.reasoning


@dataclass(frozen=True, slots=True)
class CaptionError:
    """A phrase that contradicts the image: the ``share`` of votes that named it, 0..1, and its ``span`` in the caption
    in characters; None when the caption does not contain it."""

    phrase: str
    share: float
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Annotation:
    """``scores`` by aspect, 1 to 5, None without a readable vote; ``rationales``: the reasoning behind each."""

    scores: dict[str, float | None]
    rationales: dict[str, str]


def explain(verdict: Verdict) -> Explanation:
    dimensions = {}
    for line in _POINTS.finditer(verdict.reasoning):
        points = {line["one"]: float(line["p"]), line["two"]: float(line["q"])}
        if len(points) == 2 and max(points.values()) <= 10:
            dimensions[line["name"].strip()] = (points["1"], points["2"])
    return Explanation(verdict, dimensions)


def step_scores(
    judge: VotingJudge, question: str, steps: Sequence[str], images: Sequence[MediaRef], votes: int
) -> list[float]:
    if not steps:
        raise InputError("no steps to judge", remedy="give the steps of a solution as a list of texts")
    sample = Sample("steps", "step_critique", question, tuple(images), responses=tuple(steps))
    answers = parsed_answers(judge.collect_votes([sample], votes)[0])
    complete = [answer for answer in answers if len(answer) == len(steps)]
    return [math.fsum(a[i] for a in complete) / len(complete) if complete else math.nan for i in range(len(steps))]


def find_errors(judge: VotingJudge, caption: str, image: MediaRef, votes: int) -> list[CaptionError]:
    sample = Sample("errors", "caption_critic", caption, images=(image,))
    collected = judge.collect_votes([sample], votes)[0]
    answers = [phrase(unescape(vote.parsed.answer)) for vote in collected if vote.parsed.answer is not None]
    counts = Counter(answer for answer in answers if answer)
    return [CaptionError(named, n / len(collected), _span(named, caption)) for named, n in counts.most_common()]


def annotate(
    judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], aspects: Sequence[str], votes: int
) -> list[Annotation]:
    check_captions(captions, len(images))
    repeated = [image for image in images for _ in aspects]
    prompts = [f"{caption}\nJudge this alone: {aspect}" for caption in captions for aspect in aspects]
    rows = iter(judge.collect_votes(pointwise_samples(repeated, prompts), votes))
    annotations = []
    for _ in images:
        scores, rationales = {}, {}
        for aspect in aspects:
            name, row = aspect.partition(":")[0], next(rows)
            scores[name] = mean(parsed_answers(row))
            rationales[name] = next((vote.parsed.thinking for vote in row if vote.parsed.thinking), "")
        annotations.append(Annotation(scores, rationales))
    return annotations


def _span(named: str, caption: str) -> tuple[int, int] | None:
    words = r"\s+".join(map(re.escape, named.split()))
    match = re.search(words, caption, re.IGNORECASE)
    return None if match is None else match.span()
