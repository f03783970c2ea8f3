"""Rollouts from any OpenAI-compatible server: `vllm serve`, or a service such as GPT-4o."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from reasoner_rm.client.http_errors import RequestRejected
from reasoner_rm.client.judge_server import OWNER
from reasoner_rm.client.messages import user_turn
from reasoner_rm.client.openai_client import CHAT, HttpJob, OpenAIClient
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.log import warn_once
from reasoner_rm.models.families import VISUAL_TOKENS
from reasoner_rm.rollout.base import (
    Capabilities,
    GenerationRequest,
    OptionLogprobs,
    OptionQuery,
    RolloutEngine,
    SamplingParams,
    in_order,
)
from reasoner_rm.rollout.http_options import HttpOptions
from reasoner_rm.schema import Completion

if TYPE_CHECKING:
    import torch

    from reasoner_rm.models.prompt_encoder import PromptEncoder

VLLM = {
    "return_token_ids": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "bad_words": list(VISUAL_TOKENS),
    # a checkpoint's generation_config would set these, and make the sampler another policy
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}
"""What vLLM offers beyond OpenAI's form."""
ROUNDS = 4
"""How often in a row everything may come back without a single completion, each time asked in another form."""
_UNHEARD_OF = re.compile(
    "unsupported|not support|unrecogni[sz]ed|unknown|not permitted|not allowed|only", re.IGNORECASE
)
SHOWN_AFTER = 5.0
"""Seconds until a progress bar appears."""


class HttpEngine(RolloutEngine):
    """One request a prompt, with all its G completions and its images once; groups come as they are ready.

    The seed of a request is its first completion's: a completion depends on its group's first seed and its place in it.
    ``token_ids`` and ``logprobs`` are empty where the server does not say them.

    Args:
        encoder: the trainer's own. Then the server has to read every prompt in the very tokens of the trainer.
        banned_token_ids: get no probability; with an encoder, its model's.
    """

    capabilities = Capabilities(concurrent=True, option_logprobs=True, remote=True)

    def __init__(
        self, endpoint: OpenAIClient, encoder: PromptEncoder | None = None, *, banned_token_ids: Sequence[int] = ()
    ):
        self.endpoint = endpoint
        self.encoder = encoder
        self.banned_token_ids = encoder.vlm.banned_token_ids if encoder is not None else tuple(banned_token_ids)
        owner = endpoint.model_info.get("owned_by") if _lists_models(endpoint) else None
        self.vllm, self.is_judge_server = owner == "vllm", owner == OWNER
        self._left_out: set[str] = set()

    def computes_with(self, model: torch.nn.Module) -> bool:
        return False

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return in_order(self.stream(requests, sampling))

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each request's place with its completions, as they come.

        Raises:
            InputError: the server refuses: a prompt too long, a wrong name or key.
            ServiceError: it failed or went away.
        """
        found: list[list[Completion]] = [[] for _ in requests]
        pending, rounds = list(range(len(requests))), 0
        bar = tqdm(
            total=len(requests), desc=self.endpoint.model, unit="prompt", leave=False, delay=SHOWN_AFTER, disable=None
        )
        with bar:
            while pending:
                jobs = [
                    HttpJob(CHAT, functools.partial(self._body, requests[i], sampling, len(found[i]))) for i in pending
                ]
                again, before = [], sum(map(len, found))
                for place, answer in self.endpoint.stream(jobs):
                    i = pending[place]
                    if isinstance(answer, RequestRejected) and rounds < ROUNDS and self.drop_unsupported(answer):
                        again.append(i)
                    elif isinstance(answer, (RequestRejected, ServiceError)):
                        raise answer
                    else:
                        found[i] += self._completions(answer, requests[i])
                        wanted = len(requests[i].seeds)
                        if sampling.temperature == 0 and found[i]:
                            found[i] = found[i][:1] * wanted
                        if len(found[i]) < wanted:
                            again.append(i)
                        else:
                            bar.update()
                            bar.set_postfix_str(str(self.endpoint.cost), refresh=False)
                            yield i, tuple(found[i][:wanted])
                rounds = rounds + 1 if sum(map(len, found)) == before else 0
                if again and rounds > ROUNDS:
                    raise ServiceError(f"{self.endpoint.urls[0]} answers without completions")
                pending = again

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        """See :class:`HttpOptions`.

        Raises:
            InputError: the server does not continue an assistant's message, or reports no log-probabilities.
        """
        return self.options(queries)

    @functools.cached_property
    def options(self) -> HttpOptions:
        """Made at first use: it finds out whether the server supports the requests (:class:`HttpOptions`)."""
        return HttpOptions(self.endpoint, vllm=self.vllm, banned_token_ids=self.banned_token_ids)

    @property
    def usage(self) -> str:
        return str(self.endpoint.cost)

    def state_dict(self) -> dict[str, Any]:
        """What was spent of the endpoint's budget."""
        return {"usage": self.endpoint.cost.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.endpoint.cost.load_state_dict(state_dict.get("usage", {}))

    # --- asking -----------------------------------------------------------------------------------------------------

    def _body(self, request: GenerationRequest, sampling: SamplingParams, have: int) -> Mapping[str, Any]:
        """``have`` completions of the request are there already: the others are asked for."""
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [user_turn(request.prompt)],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "n": 1 if sampling.temperature == 0 else len(request.seeds) - have,
            "seed": request.seeds[have] % 2**31,
            "logprobs": sampling.top_p == 1,  # below 1, a server may report log-probabilities within the nucleus
        }
        if self.vllm:
            body |= VLLM
            if self.banned_token_ids:  # rows of the vocabulary that no token owns have no name to ban them by
                body["logit_bias"] = dict.fromkeys(map(str, self.banned_token_ids), -100)
        if "max_tokens" in self._left_out:
            body["max_completion_tokens"] = body["max_tokens"]
        return {name: value for name, value in body.items() if name not in self._left_out}

    def drop_unsupported(self, refused: RequestRejected) -> bool:
        """Whether to repeat the request without the field that the server rejected; sampling settings are kept."""
        if refused.param not in ("logprobs", "seed", "n", "max_tokens") or not _UNHEARD_OF.search(str(refused)):
            return False
        self._left_out.add(refused.param)
        warn_once(f"{self.endpoint.model} takes no {refused.param!r}: requests leave it out")
        return True

    # --- reading ----------------------------------------------------------------------------------------------------

    def _completions(self, answer: Any, request: GenerationRequest) -> Iterator[Completion]:
        try:
            choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
            if self.encoder is not None:
                self._check_prompt(request, answer.get("prompt_token_ids"))
            yield from (self._completion(choice) for choice in choices if choice.get("finish_reason") != "abort")
        except (KeyError, TypeError, AttributeError, ValueError):
            url = self.endpoint.urls[0]
            raise InputError(f"{url} answers no chat completion: {str(answer)[:120]}") from None

    def _completion(self, choice: Mapping[str, Any]) -> Completion:
        message, ids = choice["message"], tuple(choice.get("token_ids") or ())
        text, thought = message.get("content") or "", message.get("reasoning") or message.get("reasoning_content")
        if thought:  # a server with a reasoning parser: joined as the model wrote it
            text = f"<think>{thought}</think>{text}"
        cut = choice.get("finish_reason") == "length"
        if self.encoder is not None and ids:  # as the other engines decode it, partial last characters included
            text = self.encoder.vlm.tokenizer.decode(ids if cut else ids[:-1], skip_special_tokens=False)
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        return Completion(text, ids, tuple(float(t["logprob"]) for t in tokens), "length" if cut else "stop")

    def _check_prompt(self, request: GenerationRequest, read: Any) -> None:
        assert self.encoder is not None
        ours = list(self.encoder.encode(request.prompt).input_ids)
        if read != ours:
            theirs = "of which it tells no tokens" if read is None else f"of {len(read)} tokens"
            raise InputError(
                f"{self.endpoint.urls[0]} reads a prompt {theirs}, the trainer one of {len(ours)}",
                remedy="serve the same checkpoint with the trainer's chat template and --mm-processor-kwargs (pixels)",
            )


def _lists_models(endpoint: OpenAIClient) -> bool:
    """Whether the server says what it serves; one that does not has to be given a name."""
    try:
        return bool(endpoint.model_info)
    except RequestRejected as refused:
        if endpoint.section.model and refused.status in (404, 405):
            return False
        raise
