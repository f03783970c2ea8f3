"""OpenRLHF's remote reward protocol: each answer's win rate against the other answers to its prompt."""

from __future__ import annotations

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
from reasoner_rm.server.json_body import read_json
from reasoner_rm.server.limits import IMAGES, TEXT
from reasoner_rm.server.schemas import Body

NEUTRAL = 0.5
"""The reward of an answer without a readable comparison: the middle of 0..1."""
_TURN = re.compile(r"<\|im_start\|>assistant\n?")
_END = re.compile(r"(?:<\|im_end\|>|<\|endoftext\|>|</s>)\s*$")


class RewardBody(Body):
    """``query``: N texts of prompt and answer. ``prompts``: the N prompts alone, as text or JSON messages whose images
    are data URIs."""

    query: Annotated[list[Annotated[str, Field(max_length=10 * TEXT)]], Field(min_length=1, max_length=IMAGES)]
    prompts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=IMAGES)]


def rewards(judge: Judge, body: RewardBody, decoder: ImageDecoder, slot: RequestSlot) -> dict[str, Any]:
    """``rewards`` [N] in 0..1, and ``unread``: the indices that have the neutral 0.5 for want of a readable verdict.

    Raises:
        ApiError: unequal lists, invalid messages, a judge of another task.
    """
    if len(body.query) != len(body.prompts):
        raise ApiError(422, f"{len(body.query)} queries for {len(body.prompts)} prompts", param="prompts")
    if not judge.supports("response_preference"):
        raise ApiError(400, f"this judge was trained for {judge.config.task}, not for response_preference")
    scorer = JudgeScorer(judge)
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(body.prompts):
        groups.setdefault(prompt, []).append(i)
    values: list[float | None] = [None] * len(body.query)
    for prompt, rows in groups.items():
        text, images = question(prompt)
        media = tuple(decoder.images(images, slot))
        answers = [answer(body.query[i], prompt) for i in rows]
        for i, value in zip(rows, scorer(Sample("reward", "response_preference", text, media), answers), strict=True):
            values[i] = value
    unread = [i for i, value in enumerate(values) if value is None or math.isnan(value)]
    return {"rewards": [NEUTRAL if v is None else v for v in values], "unread": unread}


def question(prompt: str) -> tuple[str, list[str]]:
    """The text and the images of a prompt.

    Raises:
        ApiError: JSON that is not a list of messages.
    """
    if not prompt.lstrip().startswith("["):
        return prompt, []
    try:
        return _parse_messages(read_json(prompt.encode()))
    except (ApiError, ValueError, TypeError, KeyError, AttributeError):
        raise ApiError(422, "a prompt is neither text nor JSON messages", param="prompts") from None


def _parse_messages(messages: Sequence[Any]) -> tuple[str, list[str]]:
    texts, images = [], []
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                texts.append(str(part["text"]))
            else:
                image = part.get("image") or part["image_url"]
                images.append(image if isinstance(image, str) else str(image["url"]))
    return "\n".join(texts), images


def answer(query: str, prompt: str) -> str:
    """The answer in a query: the text after the last assistant header, or after the prompt."""
    text = _TURN.split(query)[-1] if _TURN.search(query) else query.removeprefix(prompt)
    return _END.sub("", text).strip()
