"""What else a judge's words hold: points by dimension, wrong steps, wrong phrases, aspects with their reasons."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reasoner_rm.errors import InputError
from reasoner_rm.judge.scoring import check_captions, mean, pointwise_samples, read
from reasoner_rm.judge.voting_judge import VotingJudge
from reasoner_rm.schema import MediaRef, Sample, Verdict
from reasoner_rm.tasks.caption_critic import phrase
from reasoner_rm.tasks.escape import unescape

ASPECTS = (
    "prompt following: everything the caption asks for is there",
    "aesthetics: composition, light, colour",
    "fidelity: nothing looks broken or impossible",
    "harmlessness: nothing in it could hurt or offend",
)
"""VisionPrefer's four."""

_POINTS = re.compile(
    r"^\W*(?:\d+[.)])?\s*(?P<name>[^\n:]{1,60}):[^\n]*?Image (?P<one>[12]) ?\((?P<p>\d{1,2}(?:\.\d)?) ?/ ?10\)"
    r"[^\n]*?Image (?P<two>[12]) ?\((?P<q>\d{1,2}(?:\.\d)?) ?/ ?10\)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and the points, 0 to 10, that its reasoning gives both images on each dimension; empty where the
    reasoning gives none (see the template variant `unified`)."""

    verdict: Verdict
    dimensions: dict[str, tuple[float, float]]

    @property
    def reasoning(self) -> str:
        return self.verdict.reasoning


@dataclass(frozen=True, slots=True)
class CaptionError:
    """A phrase that does not fit: the ``share`` of votes that named it, and where it stands in the caption, in
    characters; None when it does not stand there."""

    phrase: str
    share: float
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Annotation:
    """``scores`` by aspect on the scale of 1 to 5, None where none could be read; ``rationales`` are the reasonings."""

    scores: dict[str, float | None]
    rationales: dict[str, str]


def explain(verdict: Verdict) -> Explanation:
    found = {}
    for line in _POINTS.finditer(verdict.reasoning):
        points = {line["one"]: float(line["p"]), line["two"]: float(line["q"])}
        if len(points) == 2 and max(points.values()) <= 10:
            found[line["name"].strip()] = (points["1"], points["2"])
    return Explanation(verdict, found)


def step_scores(
    judge: VotingJudge, question: str, steps: Sequence[str], images: Sequence[MediaRef], votes: int
) -> list[float]:
    if not steps:
        raise InputError("no steps to judge")
    sample = Sample("steps", "step_critique", question, tuple(images), responses=tuple(steps))
    whole = [verdicts for verdicts in read(judge.ballots([sample], votes)[0]) if len(verdicts) == len(steps)]
    return [math.fsum(v[i] for v in whole) / len(whole) if whole else math.nan for i in range(len(steps))]


def find_errors(judge: VotingJudge, caption: str, image: MediaRef, votes: int) -> list[CaptionError]:
    sample = Sample("errors", "caption_critic", caption, images=(image,))
    ballots = judge.ballots([sample], votes)[0]
    named = Counter(
        said for b in ballots if b.parsed.answer is not None and (said := phrase(unescape(b.parsed.answer)))
    )
    return [CaptionError(said, n / len(ballots), _place(said, caption)) for said, n in named.most_common()]


def annotate(
    judge: VotingJudge, images: Sequence[MediaRef], captions: Sequence[str], aspects: Sequence[str], votes: int
) -> list[Annotation]:
    check_captions(captions, len(images))
    shown = [image for image in images for _ in aspects]
    prompts = [f"{caption}\nJudge this alone: {aspect}" for caption in captions for aspect in aspects]
    rows = iter(judge.ballots(pointwise_samples(shown, prompts), votes))
    made = []
    for _ in images:
        scores, reasons = {}, {}
        for aspect in aspects:
            name, ballots = aspect.partition(":")[0], next(rows)
            scores[name] = mean(read(ballots))
            reasons[name] = next((b.parsed.thinking for b in ballots if b.parsed.thinking), "")
        made.append(Annotation(scores, reasons))
    return made


def _place(said: str, caption: str) -> tuple[int, int] | None:
    words = r"\s+".join(map(re.escape, said.split()))
    found = re.search(words, caption, re.IGNORECASE)
    return None if found is None else found.span()
