"""OpenAI's chat completions. The model NAME takes a caption and images and renders the judge's prompt template;
``NAME:raw`` takes a rendered prompt of text and images."""

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
IMAGE_COUNTS = {
    "image_preference": 2,
    "edit_preference": 3,
    "pointwise": 1,
    "caption_critic": 1,
    "grounding": 1,
    "detection": 1,
}
"""Images per request by task. Other tasks are asked with ``NAME:raw`` only."""
UNSUPPORTED = (
    "tools", "tool_choice", "functions", "response_format", "stop", "logit_bias", "frequency_penalty",
    "presence_penalty", "top_logprobs", "audio", "modalities", "prediction", "top_k", "min_p", "repetition_penalty",
    "length_penalty", "use_beam_search", "min_tokens", "ignore_eos", "stop_token_ids", "allowed_token_ids",
    "guided_json", "guided_regex", "guided_choice", "structured_outputs", "prompt_logprobs", "truncate_prompt_tokens",
    "continue_final_message", "chat_template", "chat_template_kwargs",
)  # fmt: skip
"""Fields that would change the completion; rejected unless neutral."""
NEUTRAL: tuple[Any, ...] = (None, 0, 0.0, [], {}, "none")
_CONTROL = re.compile(r"<(?=\|[^|<>\\\s]{1,40}\|>)")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat as a request to the engine."""

    request: GenerationRequest
    sampling: SamplingParams


def check(body: ChatBody, name: str) -> None:
    """Validate a chat before its images are decoded.

    Raises:
        ApiError: another model, other roles, unsupported fields.
    """
    if body.model not in (None, name, name + RAW):
        raise ApiError(404, f"no model {str(body.model)[:60]!r}, there is {name!r} and {name + RAW!r}", param="model")
    for field in UNSUPPORTED:
        if body.unknown.get(field) not in NEUTRAL and not (field == "repetition_penalty" and body.unknown[field] == 1):
            raise ApiError(400, f"{field} is not supported", param=field)
    if len(body.messages) != 1 or body.messages[0].role != "user":
        raise ApiError(400, "a judge takes one user message, without a system prompt", param="messages")


def parts_of(body: ChatBody) -> list[Part]:
    """The message's text and image parts.

    Raises:
        ApiError: a part without its content.
    """
    content = body.messages[0].content
    parts = [Part(type="text", text=content)] if isinstance(content, str) else content
    for part in parts:
        if (part.text if part.type == "text" else part.image_url) is None:
            raise ApiError(422, f"a part of type {part.type} without its {part.type}", param="messages")
    return parts


def chat_request(body: ChatBody, judge: Judge, name: str, decoder: ImageDecoder, slot: RequestSlot) -> ChatRequest:
    """A chat as a request to the engine, its images decoded.

    Raises:
        ApiError, InputError: invalid images or another number than the task needs; unusable text.
    """
    parts = parts_of(body)
    texts = [part.text or "" for part in parts if part.type == "text"]
    images = decoder.images([part.image_url.url for part in parts if part.image_url is not None], slot)
    if body.model == name + RAW:
        media = iter(images)
        content = tuple(next(media) if part.type == "image_url" else _escape(part.text or "") for part in parts)
        prompt = Prompt(content, tuple(part.type == "image_url" for part in parts))
    else:
        task, caption = judge.config.task, "\n".join(texts).strip()
        count = IMAGE_COUNTS.get(task)
        if count is None:
            raise ApiError(400, f"{task} is not available as a chat: use /v1/verdicts, or the model {name + RAW}")
        if len(images) != count or not caption:
            raise ApiError(
                400, f"{task} takes a text and {count} images, the message has {len(images)}", param="messages"
            )
        prompt = render(Sample("chat", task, caption, images=tuple(images)), judge.config.template)
    temperature = (0.0 if body.n == 1 else 1.0) if body.temperature is None else body.temperature
    max_tokens = min(body.max_completion_tokens or body.max_tokens or judge.max_tokens, judge.max_tokens)
    seeds = tuple(stable_seed(body.seed or 0, "chat", i) for i in range(body.n))
    return ChatRequest(
        GenerationRequest(prompt, seeds),
        SamplingParams(temperature, max_tokens, 1.0 if body.top_p is None else body.top_p),
    )


def _escape(text: str) -> str:
    """The text with control tokens escaped; those that the renderer escaped already are unchanged."""
    check_text(text, "chat")
    return _CONTROL.sub("<" + JOINER, text)


def completion(body: ChatBody, name: str, completions: tuple[Completion, ...]) -> dict[str, Any]:
    """The response body. ``logprobs`` name tokens by id; ``token_ids`` are included on ``return_token_ids``."""
    choices = []
    for i, sampled in enumerate(completions):
        choice: dict[str, Any] = {
            "index": i,
            "message": {"role": "assistant", "content": sampled.text},
            "finish_reason": sampled.finish_reason,
            "logprobs": _logprobs(sampled) if body.logprobs else None,
        }
        if body.unknown.get("return_token_ids"):
            choice["token_ids"] = list(sampled.token_ids)
        choices.append(choice)
    return {**_head(name, "chat.completion"), "choices": choices}


async def streamed(
    admission: AdmissionController, slot: RequestSlot, name: str, work: Callable[[Callable[[str], None]], Completion]
) -> AsyncIterator[str]:
    """The response as server-sent chunks, while the completion is generated."""
    head, sent = _head(name, "chat.completion.chunk"), 0

    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in stream_text(admission, slot, work):
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
    entry = {"object": "model", "created": 0, "owned_by": "reasoner-rm"}
    return {"object": "list", "data": [{"id": name, **entry}, {"id": name + RAW, **entry}]}


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def _logprobs(sampled: Completion) -> dict[str, Any]:
    tokens = zip(sampled.token_ids, sampled.logprobs, strict=True)
    return {"content": [{"token": f"token_id:{t}", "logprob": p, "bytes": None, "top_logprobs": []} for t, p in tokens]}
