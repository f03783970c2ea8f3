"""The update of a GRPO step at Qwen2.5-VL-3B's shape in bf16: frozen tower, gradient checkpointing, no optimiser state.

One group of 8 completions of 256 to 512 tokens, or of 600 to 1200, over a prompt with two images. Rivals on the same
completions: TRL with its fused head, the repeated form, PrefixGrouper's form of attention.
"""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import grpo_step
import torch
from harness import CUDA, attempt, found, profile, put, replaced, wall
from model import random_policy
from rivals import GroupedAttention
from row import LARGE, SMALL, Row

from reasoner_rm.models import packing
from reasoner_rm.models.attention import VISION_NAME
from reasoner_rm.utils.memory import release_memory

vlm = random_policy(dtype=torch.bfloat16 if CUDA else torch.float32)
put("parameters G", round(sum(p.numel() for p in vlm.model.parameters()) / 1e9, 2))


def checkpointing(on: bool) -> None:
    if on:
        vlm.model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        vlm.model.gradient_checkpointing_disable()


small = Row(vlm, SMALL)
put("row", small.about)
checkpointing(True)
attempt("ours", small.figures, 15)
attempt(
    "ours, new lengths each time, s",
    lambda: [round(wall(partial(small.update, small.with_lengths(40 + i))), 3) for i in range(4)],
    8,
)


def grouper() -> dict[str, Any]:
    with replaced(packing, "PackedAttention", GroupedAttention):
        return small.figures()


def repeated() -> dict[str, Any]:
    trainer = small.ours.trainer
    with replaced(trainer, "section", trainer.section.model_copy(update={"shared_prefix": False})):
        return small.figures()


attempt("PrefixGrouper's form", grouper, 15)
attempt("repeated form", repeated, 20)
checkpointing(False)
attempt("ours, no checkpointing", small.figures, 10)


large = Row(vlm, LARGE)
put("row of 8k", large.about)
attempt("8k: ours, no checkpointing", large.figures, 10)
checkpointing(True)
attempt("8k: ours, checkpointing", large.figures, 10)
checkpointing(False)


class Trl:
    """TRL's update on the same completions."""

    def __init__(self, row: Row, folder: str, tower: str):
        self.side = grpo_step.Trl(vlm, row.prompts, row.shape, folder)
        self.side.model.set_attn_implementation({"text_config": "sdpa", "vision_config": tower})
        self.side.trainer.rollout_func = lambda given, trainer: {
            "prompt_ids": trainer._tokenize_prompts(given)[0],
            "completion_ids": [list(ids) for group in row.ids for ids in group],
            "logprobs": None,
        }
        self.inputs = self.side.prepare()

    def update(self) -> None:
        for p in self.side.model.parameters():
            p.grad = None
        self.side.update(self.inputs)


def trl(tower: str, checkpoint: bool, file: str | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        theirs = Trl(small, folder, tower)
        if checkpoint:
            theirs.side.model.gradient_checkpointing_enable({"use_reentrant": False})
        figures = small.figures(theirs.update)
        return figures | ({"profile": profile(theirs.update, file)} if file else {})


for p in vlm.model.parameters():
    p.grad = None
release_memory()
attempt("TRL", lambda: trl("sdpa", True), 30)
attempt("TRL with our vision tower", lambda: trl(VISION_NAME, True, "profile_trl.txt"), 20)
attempt("TRL with our vision tower, no checkpointing", lambda: trl(VISION_NAME, False), 15)
for mine, theirs in (
    ("ours", "PrefixGrouper's form"),
    ("ours", "repeated form"),
    ("ours", "TRL"),
    ("ours", "TRL with our vision tower"),
    ("ours, no checkpointing", "TRL with our vision tower, no checkpointing"),
):
    if all(isinstance(found.get(name), dict) for name in (mine, theirs)):
        speedup = round(found[theirs]["s"] / found[mine]["s"], 2)
        memory = round(found[mine]["peak MB"] / max(1, found[theirs]["peak MB"]), 2)
        put(f"{mine}, over {theirs}", {"speed-up": speedup, "memory": memory})
