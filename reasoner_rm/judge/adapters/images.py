"""Rewards for training image generators: a batch of images with their prompts to one number per image."""

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

OnUnparsed: TypeAlias = Literal["mean", "zero", "raise"]


def as_flow_grpo(judge: Judge, mode: Mode = "auto", *, votes: int = 1, on_unparsed: OnUnparsed = "mean") -> Reward:
    """The reward function of DDPO and Flow-GRPO. ``info`` holds ``parsed_mask`` and ``mode``.

    Args:
        mode: as in `Judge.score`; `win_rate` compares the images of one prompt with each other.
        on_unparsed: `mean`: an unparsed score is the mean over its prompt's other images, else over the batch, so
            that its advantage is about 0; `zero`; or `raise`.

    Raises (when called):
        InputError: no score could be parsed, or under `raise` any could not.
    """

    def reward(
        images: Any, prompts: Sequence[str], metadata: Any = None, **_: Any
    ) -> tuple[list[float], dict[str, Any]]:
        result = judge.score(
            images, prompts, mode, votes=votes, on_unparsed="raise" if on_unparsed == "raise" else "nan"
        )
        scores = (
            [0.0 if math.isnan(s) else s for s in result.normalized()]
            if on_unparsed == "zero"
            else filled(result, prompts)
        )
        return scores, {"parsed_mask": result.parsed_mask, "mode": result.mode}

    return reward


def as_multi_score(
    rewards: Mapping[str, tuple[Reward, float]],
) -> Callable[..., tuple[dict[str, list[float]], dict[str, Any]]]:
    """Flow-GRPO's ``multi_score``: each reward's list by name, and ``avg``, their weighted sum.

    Args:
        rewards: by name, a function of this calling convention and its weight.
    """
    if not rewards or "avg" in rewards:
        raise InputError("multi_score needs rewards, none of them called avg")

    def score(
        images: Any, prompts: Sequence[str], metadata: Any = None, **_: Any
    ) -> tuple[dict[str, list[float]], dict[str, Any]]:
        details: dict[str, list[float]] = {}
        for name, (reward, _weight) in rewards.items():  # the trainer's argument `only_strict` is for GenEval
            details[name] = [float(s) for s in reward(images, prompts, metadata)[0]]
        weights = [weight for _, weight in rewards.values()]
        details["avg"] = [
            math.fsum(w * s for w, s in zip(weights, row, strict=True)) for row in zip(*details.values(), strict=True)
        ]
        return details, {}

    return score


def as_pref_grpo(judge: Judge, *, votes: int = 1, on_unparsed: OnUnparsed = "mean") -> Reward:
    """Pref-GRPO (arXiv 2508.20751): each image's win rate against the others of its prompt."""
    return as_flow_grpo(judge, "win_rate", votes=votes, on_unparsed=on_unparsed)


def as_dancegrpo(
    judge: Judge, mode: Mode = "auto", *, votes: int = 1, failed: float = -1.0
) -> Callable[..., list[float]]:
    """DanceGRPO's reward: ``fn(images, prompts) -> [N]``; ``failed`` is the value of an unparsed score, as there."""

    def reward(images: Any, prompts: Sequence[str]) -> list[float]:
        result = judge.score(images, prompts, mode, votes=votes)
        return [s if parsed else failed for s, parsed in zip(result.normalized(), result.parsed_mask, strict=True)]

    return reward


def filled(result: Scores, prompts: Sequence[str]) -> list[float]:
    """Scores in 0..1, unparsed ones filled with the mean over their prompt's others, else over all.

    Raises:
        InputError: none could be parsed.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for score, parsed, prompt in zip(result.normalized(), result.parsed_mask, prompts, strict=True):
        if parsed:
            groups[prompt].append(score)
    parsed_scores = [score for group in groups.values() for score in group]
    if not parsed_scores:
        raise InputError(
            f"none of {len(prompts)} scores could be read", remedy="look at the judge's text with explain()"
        )
    overall = math.fsum(parsed_scores) / len(parsed_scores)
    means = {prompt: math.fsum(group) / len(group) for prompt, group in groups.items()}
    rows = zip(result.normalized(), result.parsed_mask, prompts, strict=True)
    return [score if parsed else means.get(prompt, overall) for score, parsed, prompt in rows]
