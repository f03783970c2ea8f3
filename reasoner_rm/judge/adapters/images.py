"""Rewards of image generators: batches of images and their prompts in, one number for each out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.judge.judge import Judge
from reasoner_rm.judge.scoring import Mode, Scores

Reward: TypeAlias = Callable[..., tuple[list[float], dict[str, Any]]]
"""``fn(images, prompts, metadata) -> (scores, info)``: images are floats [N, 3, H, W] in 0..1, uint8 [N, H, W, 3], or
a list of PIL images; scores are N finite numbers in 0..1."""

Unread: TypeAlias = Literal["mean", "zero", "raise"]


def as_flow_grpo(judge: Judge, mode: Mode = "auto", *, votes: int = 1, on_unparsed: Unread = "mean") -> Reward:
    """The reward function of DDPO and Flow-GRPO. ``info`` holds ``parsed_mask`` and ``mode``.

    Args:
        mode: as in `Judge.score`; `win_rate` compares the images of one prompt with each other.
        on_unparsed: `mean`: what could not be read takes the mean of its prompt's other images, else the batch's, so
            that it is neither paid nor punished; `zero`; or `raise`.

    Raises (when called):
        InputError: nothing at all could be read, or anything could not under `raise`.
    """

    def reward(
        images: Any, prompts: Sequence[str], metadata: Any = None, **_: Any
    ) -> tuple[list[float], dict[str, Any]]:
        found = judge.score(
            images, prompts, mode, votes=votes, on_unparsed="raise" if on_unparsed == "raise" else "nan"
        )
        scores = (
            [0.0 if math.isnan(s) else s for s in found.normalized()]
            if on_unparsed == "zero"
            else filled(found, prompts)
        )
        return scores, {"parsed_mask": found.parsed_mask, "mode": found.mode}

    return reward


def as_multi_score(
    rewards: Mapping[str, tuple[Reward, float]],
) -> Callable[..., tuple[dict[str, list[float]], dict[str, Any]]]:
    """Flow-GRPO's ``multi_score``: each reward's list by name, and ``avg``, their weighted sum.

    Args:
        rewards: names to functions with their weights; any function of this convention may be among them.
    """
    if not rewards or "avg" in rewards:
        raise InputError("multi_score needs rewards, none of them called avg")

    def score(
        images: Any, prompts: Sequence[str], metadata: Any = None, **_: Any
    ) -> tuple[dict[str, list[float]], dict[str, Any]]:
        details: dict[str, list[float]] = {}
        for name, (reward, _weight) in rewards.items():  # the trainer's `only_strict` means GenEval's alone
            details[name] = [float(s) for s in reward(images, prompts, metadata)[0]]
        weights = [weight for _, weight in rewards.values()]
        details["avg"] = [
            math.fsum(w * s for w, s in zip(weights, row, strict=True)) for row in zip(*details.values(), strict=True)
        ]
        return details, {}

    return score


def as_pref_grpo(judge: Judge, *, votes: int = 1, on_unparsed: Unread = "mean") -> Reward:
    """Pref-GRPO (arXiv 2508.20751): each image's share of wins against the others of its prompt."""
    return as_flow_grpo(judge, "win_rate", votes=votes, on_unparsed=on_unparsed)


def as_dancegrpo(
    judge: Judge, mode: Mode = "auto", *, votes: int = 1, failed: float = -1.0
) -> Callable[..., list[float]]:
    """DanceGRPO's reward: ``fn(images, prompts) -> [N]``; ``failed`` stands where nothing could be read, as there."""

    def reward(images: Any, prompts: Sequence[str]) -> list[float]:
        found = judge.score(images, prompts, mode, votes=votes)
        return [s if parsed else failed for s, parsed in zip(found.normalized(), found.parsed_mask, strict=True)]

    return reward


def filled(found: Scores, prompts: Sequence[str]) -> list[float]:
    """Scores in 0..1, the unread ones at the mean of their prompt's others, or of all.

    Raises:
        InputError: none could be read.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for score, parsed, prompt in zip(found.normalized(), found.parsed_mask, prompts, strict=True):
        if parsed:
            groups[prompt].append(score)
    known = [score for group in groups.values() for score in group]
    if not known:
        raise InputError(f"none of {len(prompts)} scores could be read", remedy="see what the judge writes: explain()")
    middle = math.fsum(known) / len(known)
    mean = {prompt: math.fsum(group) / len(group) for prompt, group in groups.items()}
    rows = zip(found.normalized(), found.parsed_mask, prompts, strict=True)
    return [score if parsed else mean.get(prompt, middle) for score, parsed, prompt in rows]
