"""OpenAI's chat completions. The judge's own name takes a caption and images and asks as the judge was taught to be
asked; ``NAME:raw`` takes a whole prompt, text and images in reading order, as it stands."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from reasoner_rm.judge.judge import Judge
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.server.admission import AdmissionController, RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.schemas import ChatBody, Part
from reasoner_rm.server.streaming import StreamEnd, event, failure, stream_text
from reasoner_rm.tasks.escape import JOINER, check_text
from reasoner_rm.tasks.render import Prompt, render
from reasoner_rm.utils.seeding import stable_seed

RAW = ":raw"
SHOWN = {
    "image_preference": 2,
    "edit_preference": 3,
    "pointwise": 1,
    "caption_critic": 1,
    "grounding": 1,
    "detection": 1,
}
"""Images of a question, by the task a judge was trained for. Other tasks have no form as a chat, but for raw."""
CHANGES = (
    "tools", "tool_choice", "functions", "response_format", "stop", "logit_bias", "frequency_penalty",
    "presence_penalty", "top_logprobs", "audio", "modalities", "prediction", "top_k", "min_p", "repetition_penalty",
    "length_penalty", "use_beam_search", "min_tokens", "ignore_eos", "stop_token_ids", "allowed_token_ids",
    "guided_json", "guided_regex", "guided_choice", "structured_outputs", "prompt_logprobs", "truncate_prompt_tokens",
    "continue_final_message", "chat_template", "chat_template_kwargs",
)  # fmt: skip
"""Fields that would change the answer."""
NEUTRAL: tuple[Any, ...] = (None, 0, 0.0, [], {}, "none")
_CONTROL = re.compile(r"<(?=\|[^|<>\\\s]{1,40}\|>)")


@dataclass(frozen=True, slots=True)
class Question:
    """What a chat asks of the engine."""

    request: GenerationRequest
    sampling: SamplingParams


def check(body: ChatBody, name: str) -> None:
    """Refuse what cannot be done before anything is unpacked.

    Raises:
        Refusal: another model, roles or fields that would change the answer.
    """
    if body.model not in (None, name, name + RAW):
        raise ApiError(404, f"no model {str(body.model)[:60]!r}, there is {name!r} and {name + RAW!r}", param="model")
    for field in CHANGES:
        if body.unknown.get(field) not in NEUTRAL and not (field == "repetition_penalty" and body.unknown[field] == 1):
            raise ApiError(400, f"{field} is not supported", param=field)
    if len(body.messages) != 1 or body.messages[0].role != "user":
        raise ApiError(400, "a judge is asked by one user message, without a system prompt", param="messages")


def parts_of(body: ChatBody) -> list[Part]:
    """The message's pieces.

    Raises:
        Refusal: a piece without its content.
    """
    content = body.messages[0].content
    parts = [Part(type="text", text=content)] if isinstance(content, str) else content
    for part in parts:
        if (part.text if part.type == "text" else part.image_url) is None:
            raise ApiError(422, f"a part of type {part.type} without its {part.type}", param="messages")
    return parts


def question(body: ChatBody, judge: Judge, name: str, intake: ImageDecoder, ticket: RequestSlot) -> Question:
    """The request behind a chat, its images opened.

    Raises:
        Refusal, InputError: images that cannot be used, or not as many as the judge compares; unusable text.
    """
    parts = parts_of(body)
    texts = [part.text or "" for part in parts if part.type == "text"]
    images = intake.images([part.image_url.url for part in parts if part.image_url is not None], ticket)
    if body.model == name + RAW:
        shown = iter(images)
        content = tuple(next(shown) if part.type == "image_url" else _plain(part.text or "") for part in parts)
        prompt = Prompt(content, tuple(part.type == "image_url" for part in parts))
    else:
        task, caption = judge.config.task, "\n".join(texts).strip()
        wanted = SHOWN.get(task)
        if wanted is None:
            raise ApiError(400, f"{task} has no form as a chat: use /v1/verdicts, or the model {name + RAW}")
        if len(images) != wanted or not caption:
            raise ApiError(400, f"{task} takes a text and {wanted} images, here are {len(images)}", param="messages")
        prompt = render(Sample("chat", task, caption, images=tuple(images)), judge.config.template)
    warmth = (0.0 if body.n == 1 else 1.0) if body.temperature is None else body.temperature
    most = min(body.max_completion_tokens or body.max_tokens or judge.max_tokens, judge.max_tokens)
    seeds = tuple(stable_seed(body.seed or 0, "chat", i) for i in range(body.n))
    return Question(
        GenerationRequest(prompt, seeds), SamplingParams(warmth, most, 1.0 if body.top_p is None else body.top_p)
    )


def _plain(text: str) -> str:
    """A text whose control tokens are text; one that was escaped by the renderer stays as it is."""
    check_text(text, "chat")
    return _CONTROL.sub("<" + JOINER, text)


def completion(body: ChatBody, name: str, completions: tuple[Completion, ...]) -> dict[str, Any]:
    """The whole answer. ``logprobs`` name tokens by their ids, ``token_ids`` are there with ``return_token_ids``."""
    choices = []
    for i, drawn in enumerate(completions):
        choice: dict[str, Any] = {
            "index": i,
            "message": {"role": "assistant", "content": drawn.text},
            "finish_reason": drawn.finish_reason,
            "logprobs": _logprobs(drawn) if body.logprobs else None,
        }
        if body.unknown.get("return_token_ids"):
            choice["token_ids"] = list(drawn.token_ids)
        choices.append(choice)
    return {**_head(name, "chat.completion"), "choices": choices}


async def streamed(
    gate: AdmissionController, ticket: RequestSlot, name: str, work: Callable[[Callable[[str], None]], Completion]
) -> AsyncIterator[str]:
    """The answer in chunks, as it is written."""
    head, sent = _head(name, "chat.completion.chunk"), 0

    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in stream_text(gate, ticket, work):
            if isinstance(piece, StreamEnd):
                if rest := piece.result.text[sent:]:
                    yield chunk({"content": rest})
                yield chunk({}, piece.result.finish_reason)
            else:
                sent += len(piece)
                yield chunk({"content": piece})
        yield event("[DONE]")
    except Exception as error:
        yield failure(error)


def models(name: str) -> dict[str, Any]:
    made = {"object": "model", "created": 0, "owned_by": "reasoner-rm"}
    return {"object": "list", "data": [{"id": name, **made}, {"id": name + RAW, **made}]}


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def _logprobs(drawn: Completion) -> dict[str, Any]:
    told = zip(drawn.token_ids, drawn.logprobs, strict=True)
    return {"content": [{"token": f"token_id:{t}", "logprob": p, "bytes": None, "top_logprobs": []} for t, p in told]}
