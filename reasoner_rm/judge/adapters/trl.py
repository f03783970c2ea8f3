"""Rewards of TRL's GRPOTrainer, for policies that answer questions about images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.judge.judge import Judge
from reasoner_rm.judge.judge_scorer import JudgeScorer
from reasoner_rm.models.image_processing import image_key
from reasoner_rm.schema import Sample

RewardFunction = Callable[..., list[float | None]]


def as_trl_reward(judge: Judge, *, votes: int = 1, both_orders: bool = True) -> RewardFunction:
    """``reward_func(prompts, completions, **columns) -> list[float | None]``: each completion's win rate against
    the other completions of its prompt; None, which TRL ignores, without a readable verdict.

    Prompts and completions may be texts or conversations; images come from the column ``images`` or ``image``.

    Raises:
        InputError: the judge was not trained for response_preference.
    """
    if not judge.supports("response_preference"):
        what = f"this judge was trained for {judge.config.task}, not for response_preference"
        raise InputError(what, remedy="give a judge of response_preference, or an instruction-tuned base model")
    scorer = JudgeScorer(judge, votes, both_orders)

    def judge_reward(
        prompts: Sequence[Any], completions: Sequence[Any], log_metric: Any = None, **columns: Any
    ) -> list[float | None]:
        groups: dict[tuple[str, ...], list[int]] = {}
        images = [judge.images(_images(columns, i)) for i in range(len(prompts))]
        for i, prompt in enumerate(
            prompts
        ):  # a dataset decodes the image of every row again, so groups compare content
            groups.setdefault((text_of(prompt), *map(image_key, images[i])), []).append(i)
        values: list[float | None] = [None] * len(prompts)
        for rows in groups.values():
            first = rows[0]
            sample = Sample("trl", "response_preference", text_of(prompts[first]), tuple(images[first]))
            for i, value in zip(rows, scorer(sample, [text_of(completions[i]) for i in rows]), strict=True):
                values[i] = value
        if log_metric is not None:
            log_metric("judge/unread", sum(v is None for v in values) / max(1, len(values)))
        return values

    return judge_reward


def as_trl_reward_async(judge: Judge, **settings: Any) -> Callable[..., Awaitable[list[float | None]]]:
    """The same as a coroutine, which TRL runs concurrently with its other asynchronous rewards."""
    reward = as_trl_reward(judge, **settings)

    async def judge_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return await asyncio.to_thread(reward, prompts, completions, **columns)

    return judge_reward


def text_of(turns: Any) -> str:
    """The text of a prompt or completion: a string as it is, of a conversation its text parts."""
    if isinstance(turns, str):
        return turns
    pieces = []
    for turn in turns:
        content = turn["content"] if isinstance(turn, Mapping) else turn
        parts = [content] if isinstance(content, str) else content
        pieces += [p if isinstance(p, str) else p.get("text") or "" for p in parts]
    return "\n".join(piece for piece in pieces if piece)


def _images(columns: Mapping[str, Any], i: int) -> list[Any]:
    """Row ``i``'s images."""
    if columns.get("images") is not None:
        return list(columns["images"][i] or ())
    image = columns["image"][i] if columns.get("image") is not None else None
    return [] if image is None else [image]
