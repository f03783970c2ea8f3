"""Texts with a reasoning that a listener can read, and an engine whose completions are such texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion

TEXTS = (
    "<think>Image 1 shows a 7, Image 2 a 3. The caption asks for a 3.</think>\n<answer>Image 2 is better</answer>",
    "<think>Image 1 shows a 3.</think><answer>Image 1 is better</answer>",
)


class ThinkingEngine(TransformersEngine):
    """An untrained model's completions, their texts replaced by a reasoning and a verdict."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        for i, row in super().stream(requests, sampling):
            texts = (f"<think>{i} {g}</think><answer>Image 1 is better</answer>" for g in range(len(row)))
            yield i, tuple(replace(c, text=text) for c, text in zip(row, texts, strict=True))
