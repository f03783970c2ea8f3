"""A listener on vLLM: one new token per reasoning, with the log-probabilities of exactly the option tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reasoner_rm.listener.base import BaseListener, ListenerQuery, option_token_ids
from reasoner_rm.rollout.vllm.engine import VllmEngine, VllmRequest
from reasoner_rm.tasks.render import Template


class VllmListener(BaseListener):
    """All reasonings of a step are one batch. The prefix cache holds the images and the prompt that a group shares, so
    that they are computed once; log-probabilities of the prompt are never asked for, which would bypass that cache.

    Args:
        engine: of a frozen model, or of a judge that is asked for its own belief.
        settings: of :class:`AskingListener`.
    """

    def __init__(self, engine: VllmEngine, template: Template, **settings: Any):
        super().__init__(template, **settings)
        self.engine = engine

    def option_logprobs(self, asked: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        answers: list[list[Sequence[float] | None]] = [[None] * len(q.prefixes) for q in asked]
        places: list[tuple[int, int]] = []
        asks: list[VllmRequest] = []
        for i, question in enumerate(asked):
            prompt = self.engine.encoder.encode(question.prompt)
            for j, stem in enumerate(question.prefixes):
                known = option_token_ids(stem, question.options, self.engine.vlm.tokenizer)
                if known is not None:
                    places.append((i, j))
                    asks.append(VllmRequest(prompt, _one_token(known[1]), known[0]))
        for index, output in self.engine.run(asks):
            i, j = places[index]
            found = output.outputs[0].logprobs[0]
            answers[i][j] = [found[token].logprob for token in asks[index].sampling["logprob_token_ids"]]
        return answers


def _one_token(options: list[int]) -> dict[str, Any]:
    return {"max_tokens": 1, "temperature": 0.0, "logprobs": len(options), "logprob_token_ids": options}
