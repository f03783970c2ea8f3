"""Option log-probabilities from an OpenAI-compatible server: one new token per prefix, with its alternatives."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.client.http_errors import RequestRejected
from reasoner_rm.client.messages import user_message, user_turn
from reasoner_rm.client.openai_client import CHAT, HttpJob, OpenAIClient
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.models.families import VISUAL_TOKENS
from reasoner_rm.rollout.base import OptionLogprobs, OptionQuery, option_token_ids

PROBE = "<think>\nOne.\n\nTwo. </think>\n<answer>Image "
"""White space that chat templates which parse reasoning would change."""
TOP_LOGPROBS = 20
"""As many alternatives as OpenAI's form offers."""


class HttpOptions:
    """Asks for the token after each prefix, which is handed over as the assistant's unfinished message.

    vLLM reports the log-probability of exactly the options' tokens. Of another server the 20 most probable tokens are
    read; an option that is not among them makes a None. What the server fails on is its error.

    Args:
        banned_token_ids: get no probability, as in the policy; a vLLM with processed log-probabilities heeds it.

    Raises:
        InputError: the server does not continue an assistant's message unchanged.
    """

    def __init__(self, endpoint: OpenAIClient, *, vllm: bool, banned_token_ids: Sequence[int] = ()):
        self.endpoint, self.vllm = endpoint, vllm
        self._tokenizer = _Tokenizer(endpoint)
        self._affinity = itertools.count()
        self._extra: dict[str, Any] = {"top_logprobs": TOP_LOGPROBS}
        if vllm:
            self._extra = {
                "return_tokens_as_token_ids": True,
                "bad_words": list(VISUAL_TOKENS),
                "logit_bias": dict.fromkeys(map(str, banned_token_ids), -100),
                # a checkpoint's generation_config would set these
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            }
            self._probe()

    def __call__(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        answers: list[list[OptionLogprobs]] = [[None] * len(q.prefixes) for q in queries]
        places, jobs = [], []
        for i, query in enumerate(queries):
            affinity = next(self._affinity)  # not i: a query that is asked alone would always go to the first replica
            turn = functools.cache(functools.partial(user_turn, query.prompt))
            for j, prefix in enumerate(query.prefixes):
                try:
                    names = self._names(prefix, query.options)
                except ServiceError as error:
                    answers[i][j] = error
                    continue
                if names is not None:
                    places.append((i, j, names))
                    body = functools.partial(self._body, turn, prefix, names)
                    jobs.append(HttpJob(CHAT, body, affinity=affinity))
        for place, answer in self.endpoint.stream(jobs):
            i, j, names = places[place]
            if isinstance(answer, ServiceError):
                answers[i][j] = answer
            elif isinstance(answer, Exception):
                answers[i][j] = ServiceError(str(answer))
            else:
                answers[i][j] = self._parse(answer, names)
        return answers

    def _names(self, prefix: str, options: Sequence[str]) -> tuple[str, ...] | None:
        """How the options are called in an answer; None when they are not single tokens."""
        if not self.vllm:
            return tuple(options)
        tokens = option_token_ids(prefix[prefix.rfind("</think>") :], options, self._tokenizer)
        return None if tokens is None else tuple(f"token_id:{token}" for token in tokens[1])

    def _body(self, turn: Callable[[], Mapping[str, Any]], prefix: str, names: Sequence[str]) -> dict[str, Any]:
        chosen = {"logprob_token_ids": [int(n.partition(":")[2]) for n in names]} if self.vllm else {}
        return {
            "model": self.endpoint.model,
            "messages": [turn(), {"role": "assistant", "content": prefix}],
            "add_generation_prompt": False,
            "continue_final_message": True,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            **self._extra,
            **chosen,
        }

    def _parse(self, answer: Any, names: Sequence[str]) -> tuple[float, ...] | None:
        """The options' log-probabilities; None when one of them is not reported."""
        try:
            token = answer["choices"][0]["logprobs"]["content"][0]
            by_name = {t["token"]: float(t["logprob"]) for t in (*token["top_logprobs"], token)}
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(
                f"{self.endpoint.urls[0]} tells no log-probabilities: {str(answer)[:120]}",
                remedy="a listener needs a server that offers logprobs with top_logprobs",
            ) from None
        return tuple(by_name[n] for n in names) if all(n in by_name for n in names) else None

    def _probe(self) -> None:
        """Ask once, and check that the beginning of the assistant's turn is used unchanged."""
        body = self._body(lambda: user_message(["?"]), PROBE, ()) | {"return_token_ids": True}
        del body["logprob_token_ids"]
        url, remedy = self.endpoint.urls[0], "serve it with a --chat-template that leaves an assistant's text as it is"
        try:
            read = self.endpoint.post(CHAT, body).get("prompt_token_ids") or []
        except RequestRejected as refused:
            raise InputError(f"{url} does not go on with an assistant's text ({refused})", remedy=remedy) from None
        ours = self._tokenizer(PROBE).input_ids
        if read[-len(ours) :] != ours:
            raise InputError(f"{url}: its chat template changes an assistant's beginning", remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Tokens:
    input_ids: list[int]


class _Tokenizer:
    """The server's own, as far as `option_token_ids` needs one, with a cache."""

    def __init__(self, endpoint: OpenAIClient):
        self._ask = functools.lru_cache(maxsize=4096)(
            lambda text: tuple(
                endpoint.post("/../tokenize", {"model": endpoint.model, "prompt": text, "add_special_tokens": False})[
                    "tokens"
                ]
            )
        )

    def __call__(self, text: str, add_special_tokens: bool = False) -> _Tokens:
        return _Tokens(list(self._ask(text)))
