"""Models of Qwen2.5-VL-3B's shape with random weights, made on the device, and given completions for them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import grpo_step
import torch
import yaml
from harness import DEVICE, SMOKE

from reasoner_rm.models.families import FAMILIES
from reasoner_rm.models.loading import Vlm, prepare
from reasoner_rm.models.tiny import TinySize, build, build_processor, train_tokenizer


class WideTokenizer:
    """A tokenizer that says that it has so many tokens, so that the model gets a vocabulary of the real size."""

    def __init__(self, tokenizer: Any, tokens: int):
        self.tokenizer, self.tokens = tokenizer, tokens

    def __len__(self) -> int:
        return self.tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def random_policy(layers: int | None = None, dtype: torch.dtype = torch.bfloat16) -> Vlm:
    """The shape, or so many of its layers; its vision tower is frozen, and no completion ends by itself."""
    shape = grpo_step.PINNED if SMOKE else grpo_step.THREE_B
    size = TinySize(**yaml.safe_load(shape.read_text()))
    if layers:
        size = dataclasses.replace(size, layers=layers)
    tokenizer = train_tokenizer([" ".join(grpo_step.WORDS)] * 10)
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = build(size, WideTokenizer(tokenizer, 1024 if SMOKE else 151936), 0).to(dtype)
    model.model.visual.requires_grad_(False)
    vlm: Vlm = prepare(model, build_processor(size, tokenizer), FAMILIES[size.family], "random weights")
    return grpo_step.endless(vlm)  # type: ignore[no-any-return]


def completions(shape: grpo_step.Shape, seed: int) -> list[list[tuple[int, ...]]]:
    """Of half the longest to the longest length."""
    draw = random.Random(seed)
    longest = shape.completion_tokens

    def one() -> tuple[int, ...]:
        return tuple(draw.randrange(300) for _ in range(draw.randint(longest // 2, longest)))

    return [[one() for _ in range(shape.group_size)] for _ in range(shape.groups)]
