"""A listener behind an OpenAI-compatible server: one token a reasoning, with the options' log-probabilities."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.chat import user_message, user_turn
from reasoner_rm.data.endpoint import CHAT, HttpJob, OpenAIClient
from reasoner_rm.data.http_errors import RequestRejected
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.listener.base import BaseListener, ListenerQuery, option_token_ids
from reasoner_rm.models.families import VISUAL_TOKENS
from reasoner_rm.tasks.render import Template

PROBE = "<think>\nOne.\n\nTwo. </think>\n<answer>Image "
"""Spaces where templates that know of reasoning would lay out anew."""
TOP_LOGPROBS = 20
"""As many alternatives as OpenAI's form offers."""
FAILURE_WINDOW = 512
"""Questions over which the failed share is taken."""


class RemoteListener(BaseListener):
    """Asks for the token after each stem; the assistant's beginning is handed over as its unfinished message.

    vLLM says the log-probability of exactly the options' tokens. Of another server the 20 likeliest tokens are read; an
    option that is not among them makes a None. What the server fails on is None, counted in ``failed``.

    Args:
        max_failure_rate: share of the last questions that may fail; above it, or when none of a window is answered, it
            raises.
        banned: token ids that get no probability, as of the policy; a vLLM with processed log-probabilities heeds it.
        settings: of :class:`AskingListener`.

    Raises:
        InputError: the server is not there, or does not go on with an assistant's message as it stands.
    """

    is_remote = True

    def __init__(
        self,
        endpoint: OpenAIClient,
        template: Template,
        *,
        max_failure_rate: float = 0.1,
        banned: Sequence[int] = (),
        **settings: Any,
    ):
        super().__init__(template, **settings)
        self.endpoint = endpoint
        self.max_failure_rate = max_failure_rate
        self.vllm = endpoint.model_info.get("owned_by") == "vllm"
        self._tokenizer = _Tokenizer(endpoint)
        self._recent: deque[bool] = deque(maxlen=FAILURE_WINDOW)
        self._lanes = itertools.count()
        self._lock, self._open = threading.Lock(), 0
        self._answered, self._failures = 0, list[Exception]()
        self._extra: dict[str, Any] = {"top_logprobs": TOP_LOGPROBS}
        if self.vllm:
            self._extra = {
                "return_tokens_as_token_ids": True,
                "bad_words": list(VISUAL_TOKENS),
                "logit_bias": dict.fromkeys(map(str, banned), -100),
                # a checkpoint's generation_config would set these
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            }
            self._probe()

    def option_logprobs(self, asked: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        """As in `AskingListener`.

        Raises:
            ServiceError: too much failed, unless a window is open, which says so at its end.
        """
        with self.window():
            return self._ask(asked)

    def state_dict(self) -> dict[str, Any]:
        """What was spent of the budget. Not which questions failed: a server that came back begins anew."""
        return {"used": self.endpoint.cost.used()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.endpoint.cost.recall(state_dict.get("used", {}))

    @contextmanager
    def window(self) -> Iterator[None]:
        with self._lock:
            self._open += 1
        try:
            yield
        except BaseException:
            self._close()
            raise
        counted = self._close()
        if counted is not None:
            self._judge(*counted)

    def _close(self) -> tuple[int, list[Exception]] | None:
        """What a window counted, once nobody is inside any more."""
        with self._lock:
            self._open -= 1
            if self._open:
                return None
            counted = self._answered, self._failures
            self._answered, self._failures = 0, []
            return counted

    def _ask(self, asked: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        answers: list[list[Sequence[float] | None]] = [[None] * len(q.prefixes) for q in asked]
        places, jobs, answered = [], [], 0
        failures: list[Exception] = []
        for i, questions in enumerate(asked):
            lane = next(self._lanes)  # not i: a group that is asked about alone would always go to the first replica
            turn = functools.cache(functools.partial(user_turn, questions.prompt))
            for j, stem in enumerate(questions.prefixes):
                try:
                    names = self._names(stem, questions.options)
                except ServiceError as error:
                    failures.append(error)
                    continue
                if names is not None:
                    places.append((i, j, names))
                    jobs.append(HttpJob(CHAT, functools.partial(self._body, turn, stem, names), affinity=lane))
        for place, answer in self.endpoint.stream(jobs):
            i, j, names = places[place]
            if isinstance(answer, Exception):
                failures.append(answer)
            else:
                answers[i][j] = self._read(answer, names)
                answered += 1
        with self._lock:
            self._answered += answered
            self._failures += failures
        return answers

    def _judge(self, answered: int, failures: Sequence[Exception]) -> None:
        self._recent.extend([False] * answered + [True] * len(failures))
        self.failure_rate = len(failures) / max(1, answered + len(failures))
        share = sum(self._recent) / max(1, len(self._recent))
        if self.failure_rate == 1.0 or (failures and share > self.max_failure_rate):
            raise ServiceError(
                f"the listener failed on {self.failure_rate:.0%} of {answered + len(failures)} questions, and on "
                f"{share:.0%} of the last {len(self._recent)} "
                f"(listener.max_failure_rate is {self.max_failure_rate:.0%}): {failures[-1]}"
            )

    # --- one question ---------------------------------------------------------------------------------------------

    def _names(self, stem: str, options: Sequence[str]) -> tuple[str, ...] | None:
        """What the options are called in an answer; None when they are not single tokens."""
        if not self.vllm:
            return tuple(options)
        tokens = option_token_ids(stem[stem.rfind("</think>") :], options, self._tokenizer)
        return None if tokens is None else tuple(f"token_id:{token}" for token in tokens[1])

    def _body(self, turn: Callable[[], Mapping[str, Any]], stem: str, names: Sequence[str]) -> dict[str, Any]:
        chosen = {"logprob_token_ids": [int(n.partition(":")[2]) for n in names]} if self.vllm else {}
        return {
            "model": self.endpoint.model,
            "messages": [turn(), {"role": "assistant", "content": stem}],
            "add_generation_prompt": False,
            "continue_final_message": True,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            **self._extra,
            **chosen,
        }

    def _read(self, answer: Any, names: Sequence[str]) -> tuple[float, ...] | None:
        """The options' log-probabilities; None when one of them is not told."""
        try:
            told = answer["choices"][0]["logprobs"]["content"][0]
            by_name = {t["token"]: float(t["logprob"]) for t in (*told["top_logprobs"], told)}
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(
                f"{self.endpoint.urls[0]} tells no log-probabilities: {str(answer)[:120]}",
                remedy="a listener needs a server that offers logprobs with top_logprobs",
            ) from None
        return tuple(by_name[n] for n in names) if all(n in by_name for n in names) else None

    def _probe(self) -> None:
        """Ask once, and see that the assistant's beginning is read as it stands."""
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
    """The server's own, as far as `as_tokens` needs one; what was asked is remembered."""

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
