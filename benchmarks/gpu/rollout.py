"""Decoding of 64 rows on the transformers engine at Qwen2.5-VL-3B's shape, against `model.generate`."""

from __future__ import annotations

from typing import Any

import grpo_step
import torch
from harness import CUDA, SMOKE, attempt, wall
from model import random_policy

from reasoner_rm.config import LoraSection
from reasoner_rm.models.attention import NAME
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine

ROWS = 8 if SMOKE else 64
shape = grpo_step.Shape(1, 4, 300, 16, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 512, 512)
vlm = random_policy(dtype=torch.bfloat16 if CUDA else torch.float32)
(prompt,) = grpo_step.prompts_of(vlm, shape)


def figures(seconds: list[float]) -> dict[str, Any]:
    """Of calls of 4, 8 and 40 tokens."""
    step = (seconds[2] - seconds[1]) / 32
    return {
        "ms a token": round(1e3 * step, 2),
        "tokens/s": round(ROWS / step),
        "prefill and 4 tokens s": round(seconds[0], 3),
    }


def ours(policy: Any = vlm) -> dict[str, Any]:
    engine = TransformersEngine(policy)
    asked = [GenerationRequest(prompt, tuple(range(ROWS)))]
    return figures([wall(lambda n=n: engine.generate(asked, SamplingParams(1.0, n))) for n in (4, 8, 40)])


@torch.no_grad()
def generate() -> dict[str, Any]:
    encoder = PromptEncoder(vlm)
    batch = encoder.batch([encoder.encode(prompt)])
    ids = batch.input_ids.repeat(ROWS, 1)
    vlm.model.set_attn_implementation({"text_config": "sdpa"})
    keywords = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": batch.vision.pixel_values.repeat(ROWS, 1),
        "image_grid_thw": batch.vision.grid_thw.repeat(ROWS, 1),
        "mm_token_type_ids": (ids == vlm.model.config.image_token_id).int(),
        "suppress_tokens": list(vlm.banned_token_ids),
        "do_sample": True,
    }
    try:
        return figures(
            [wall(lambda n=n: vlm.model.generate(**keywords, max_new_tokens=n, min_new_tokens=n)) for n in (4, 8, 40)]
        )
    finally:
        vlm.model.set_attn_implementation({"text_config": NAME})


attempt("transformers engine", ours, 15)
attempt("model.generate", generate, 25)
attempt("transformers engine, LoRA", lambda: ours(add_lora(vlm, LoraSection(r=64, alpha=128))), 15)
