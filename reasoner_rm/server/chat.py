"""OpenAI's chat completions: requests, responses, and the list of models."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from reasoner_rm.client.judge_server import OWNER, RAW
from reasoner_rm.judge.judge import Judge
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.schema import Completion
from reasoner_rm.server.admission import AdmissionController, RequestSlot
from reasoner_rm.server.chat_messages import prompt_of
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.schemas import ChatBody
from reasoner_rm.server.streaming import StreamEnd, event, failure, stream_text
from reasoner_rm.utils.seeding import stable_seed

UNSUPPORTED = (
    "tools", "tool_choice", "functions", "response_format", "stop", "logit_bias", "frequency_penalty",
    "presence_penalty", "top_logprobs", "audio", "modalities", "prediction", "top_k", "min_p", "repetition_penalty",
    "length_penalty", "use_beam_search", "min_tokens", "ignore_eos", "stop_token_ids", "allowed_token_ids",
    "guided_json", "guided_regex", "guided_choice", "structured_outputs", "prompt_logprobs", "truncate_prompt_tokens",
    "continue_final_message", "chat_template", "chat_template_kwargs",
)  # fmt: skip
"""Fields that would change the completion; rejected unless neutral."""
NEUTRAL: tuple[Any, ...] = (None, 0, [], {}, "none")
NEUTRAL_OF: dict[str, Any] = {
    "top_k": -1, "repetition_penalty": 1, "length_penalty": 1, "response_format": {"type": "text"},
}  # fmt: skip
"""Neutral values of single fields."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat as a request to the engine."""

    request: GenerationRequest
    sampling: SamplingParams


def check(body: ChatBody, name: str) -> None:
    """Validate a chat before its images are decoded.

    Raises:
        ApiError: another model, unsupported fields.
    """
    if body.model not in (None, name, name + RAW):
        raise ApiError(404, f"no model {str(body.model)[:60]!r}, there is {name!r} and {name + RAW!r}", param="model")
    for field in UNSUPPORTED:
        if body.unknown.get(field) not in (*NEUTRAL, NEUTRAL_OF.get(field)):
            raise ApiError(400, f"{field} is not supported", param=field)


def chat_request(body: ChatBody, judge: Judge, name: str, decoder: ImageDecoder, slot: RequestSlot) -> ChatRequest:
    """A chat as a request to the engine, its images decoded.

    Raises:
        ApiError, InputError: as of `prompt_of`, or settings that cannot be sampled.
    """
    prompt = prompt_of(body.messages, judge, decoder, slot, complete=body.model == name + RAW)
    temperature = (0.0 if body.n == 1 else 1.0) if body.temperature is None else body.temperature
    max_tokens = min(body.max_completion_tokens or body.max_tokens or judge.max_tokens, judge.max_tokens)
    seeds = tuple(stable_seed(body.seed or 0, "chat", i) for i in range(body.n))
    return ChatRequest(
        GenerationRequest(prompt, seeds),
        SamplingParams(temperature, max_tokens, 1.0 if body.top_p is None else body.top_p),
    )


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
    entry = {"object": "model", "created": 0, "owned_by": OWNER}
    return {"object": "list", "data": [{"id": name, **entry}, {"id": name + RAW, **entry}]}


def _head(name: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def _logprobs(sampled: Completion) -> dict[str, Any]:
    tokens = zip(sampled.token_ids, sampled.logprobs, strict=True)
    return {"content": [{"token": f"token_id:{t}", "logprob": p, "bytes": None, "top_logprobs": []} for t, p in tokens]}
