"""OpenRLHF-style remote rewards: each answer's share of wins against the others of its prompt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from reasoner_rm.judge.judge import Judge
from reasoner_rm.judge.judge_scorer import JudgeScorer
from reasoner_rm.schema import Sample
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.limits import IMAGES, TEXT
from reasoner_rm.server.schemas import Body

NEUTRAL = 0.5
"""The reward of an answer that met nobody, or whose verdicts could not be read: neither won nor lost."""
_TURN = re.compile(r"<\|im_start\|>assistant\n?")
_END = re.compile(r"(?:<\|im_end\|>|<\|endoftext\|>|</s>)\s*$")


class RewardBody(Body):
    """``query`` are whole texts, prompt and answer; ``prompts`` the prompts alone, as text or as JSON messages whose
    images are data URIs."""

    query: Annotated[list[Annotated[str, Field(max_length=10 * TEXT)]], Field(min_length=1, max_length=IMAGES)]
    prompts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=IMAGES)]


def rewards(judge: Judge, body: RewardBody, intake: ImageDecoder, ticket: RequestSlot) -> dict[str, Any]:
    """``rewards`` [N] in 0..1, and ``unread``: the indices that hold the neutral 0.5 because nothing could be read.

    Raises:
        Refusal: unequal lists, prompts that are no messages, a judge of something else.
    """
    if len(body.query) != len(body.prompts):
        raise ApiError(422, f"{len(body.query)} queries for {len(body.prompts)} prompts", param="prompts")
    if not judge.supports("response_preference"):
        raise ApiError(400, f"this judge was trained for {judge.config.task}, rewards are of answers")
    scorer = JudgeScorer(judge)
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(body.prompts):
        groups.setdefault(prompt, []).append(i)
    values: list[float | None] = [None] * len(body.query)
    for prompt, rows in groups.items():
        text, images = question(prompt)
        shown = tuple(intake.images(images, ticket))
        answers = [answer(body.query[i], prompt) for i in rows]
        for i, value in zip(rows, scorer(Sample("reward", "response_preference", text, shown), answers), strict=True):
            values[i] = value
    unread = [i for i, value in enumerate(values) if value is None or math.isnan(value)]
    return {"rewards": [NEUTRAL if v is None else v for v in values], "unread": unread}


def question(prompt: str) -> tuple[str, list[str]]:
    """The text and the images of a prompt.

    Raises:
        Refusal: JSON that is no list of messages.
    """
    if not prompt.lstrip().startswith("["):
        return prompt, []
    try:
        return _read(json.loads(prompt))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ApiError(422, "a prompt is neither text nor JSON messages", param="prompts") from None


def _read(messages: Sequence[Any]) -> tuple[str, list[str]]:
    texts, images = [], []
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                texts.append(str(part["text"]))
            else:
                found = part.get("image") or part["image_url"]
                images.append(found if isinstance(found, str) else str(found["url"]))
    return "\n".join(texts), images


def answer(query: str, prompt: str) -> str:
    """What was answered: the text behind the last assistant's turn, or behind the prompt."""
    text = _TURN.split(query)[-1] if _TURN.search(query) else query.removeprefix(prompt)
    return _END.sub("", text).strip()
