"""Flow-GRPO's remote rewards: the request is a pickle of images and prompts, the response a pickle of scores."""

from __future__ import annotations

import pickle

from reasoner_rm.judge.adapters import as_flow_grpo
from reasoner_rm.judge.judge import Judge
from reasoner_rm.server import safe_pickle
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.limits import TEXT

BATCH = 64
"""The most images of a request, which is what Flow-GRPO's clients send."""


def rewards(judge: Judge, body: bytes, decoder: ImageDecoder, slot: RequestSlot) -> bytes:
    """The pickled answer to a pickled ``{"images": [JPEG bytes], "prompts": [str]}``; instead of prompts GenEval's
    client sends ``meta_datas``, each with a ``prompt``.

    It holds the scores in 0..1 under each name that a client reads (``outputs``, ``scores``, ``rewards``,
    ``strict_rewards``), no groups, and ``parsed_mask``.

    Raises:
        ApiError: another body, or invalid images.
    """
    images, prompts = _unpickle(body)
    scores, info = as_flow_grpo(judge)(decoder.images(images, slot, BATCH), prompts)
    named = dict.fromkeys(("outputs", "scores", "rewards", "strict_rewards"), scores)
    answer = {**named, "group_rewards": {}, "group_strict_rewards": {}, "parsed_mask": info["parsed_mask"]}
    return pickle.dumps(answer, protocol=4)


def _unpickle(body: bytes) -> tuple[list[bytes], list[str]]:
    try:
        request = safe_pickle.read(body)
        images = request["images"]
        prompts = safe_pickle.texts(
            request["prompts"] if "prompts" in request else [m["prompt"] for m in request["meta_datas"]]
        )
    except ValueError as error:
        raise ApiError(400, f"the body is not a pickle of images and prompts: {error}") from None
    except (LookupError, TypeError, AttributeError):
        raise ApiError(422, 'pickle {"images": [JPEG bytes], "prompts": [str]}') from None
    if not isinstance(images, list) or not images or not all(isinstance(image, bytes) for image in images):
        raise ApiError(422, "images must be a list of encoded images as bytes")
    if max(map(len, prompts), default=0) > TEXT:
        raise ApiError(422, f"a prompt of more than {TEXT} characters")
    if len(images) != len(prompts):
        raise ApiError(422, f"{len(images)} images for {len(prompts)} prompts")
    return images, prompts
