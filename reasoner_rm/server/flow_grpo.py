"""Flow-GRPO's remote rewards: a pickle of images and prompts comes in, a pickle of scores goes out."""

from __future__ import annotations

import pickle
from typing import Any

from reasoner_rm.judge.adapters import as_flow_grpo
from reasoner_rm.judge.judge import Judge
from reasoner_rm.server import safe_pickle
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.limits import TEXT

BATCH = 64
"""Images of one request: as many as its clients send."""


def rewards(judge: Judge, body: bytes, intake: ImageDecoder, ticket: RequestSlot) -> bytes:
    """The pickled answer to a pickled ``{"images": [JPEG bytes], "prompts": [str]}``; instead of prompts GenEval's
    client sends ``meta_datas``, whose ``prompt`` is taken.

    It holds the scores in 0..1 under each name that a client reads (``outputs``, ``scores``, ``rewards``,
    ``strict_rewards``), no groups, and ``parsed_mask``.

    Raises:
        Refusal: a body that is something else, or images that are none.
    """
    images, prompts = _asked(body)
    scores, info = as_flow_grpo(judge)(intake.images(images, ticket, BATCH), prompts)
    named = dict.fromkeys(("outputs", "scores", "rewards", "strict_rewards"), scores)
    answer = {**named, "group_rewards": {}, "group_strict_rewards": {}, "parsed_mask": info["parsed_mask"]}
    return pickle.dumps(answer, protocol=4)


def _asked(body: bytes) -> tuple[list[bytes], list[str]]:
    try:
        asked = safe_pickle.read(body)
        images = asked["images"]
        prompts = safe_pickle.texts(
            asked["prompts"] if "prompts" in asked else [m["prompt"] for m in asked["meta_datas"]]
        )
    except ValueError as error:
        raise ApiError(400, f"no pickle of images and prompts: {error}") from None
    except (LookupError, TypeError, AttributeError):
        raise ApiError(422, 'pickle {"images": [JPEG bytes], "prompts": [str]}') from None
    if not isinstance(images, list) or not images or not all(isinstance(image, bytes) for image in images):
        raise ApiError(422, "images are a list of encoded images, as bytes")
    if max(map(len, prompts), default=0) > TEXT:
        raise ApiError(422, f"a prompt of more than {TEXT} characters")
    if len(images) != len(prompts):
        raise ApiError(422, f"{len(images)} images for {len(prompts)} prompts")
    return images, prompts


def check_sender(headers: Any) -> None:
    """Raises:
    Refusal: a browser's page sent it; trainers have no origin.
    """
    if "origin" in headers:
        raise ApiError(403, "no requests from web pages")
