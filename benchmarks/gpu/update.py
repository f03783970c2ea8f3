"""The update of a GRPO step at Qwen2.5-VL-3B's shape in bf16: frozen tower, gradient checkpointing, no optimiser state.

One group of 8 completions of 256 to 512 tokens, or of 600 to 1200, over a prompt with two images. Rivals on the same
completions: TRL with its fused head, the repeated form, PrefixGrouper's form of attention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import grpo_step
import torch
from harness import CUDA, OUT, SMOKE, attempt, found, peak_mb, put, release, replaced, wall
from model import completions, random_policy
from rivals import GroupedAttention

from reasoner_rm.models import packing
from reasoner_rm.models.attention import VISION_NAME
from reasoner_rm.models.fused_layers import fuse_layers
from reasoner_rm.schema import Completion
from reasoner_rm.training.optimization import Optimization

SMALL = grpo_step.Shape(1, 4, 300, 16, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 512, 512)
LARGE = grpo_step.Shape(1, 4, 300, 32, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 1200, 512)
PEAK = 989e12
"""Operations a second of an H100's or H200's tensor cores in bf16."""
vlm = random_policy(dtype=torch.bfloat16 if CUDA else torch.float32)
text = vlm.model.config.get_text_config()
weights = sum(p.numel() for n, p in vlm.model.model.language_model.layers.named_parameters() if p.dim() == 2)
put("parameters G", round(sum(p.numel() for p in vlm.model.parameters()) / 1e9, 2))


class Row:
    """One group with given completions, as a prepared update."""

    def __init__(self, shape: grpo_step.Shape):
        self.shape, self.prompts, self.ids = shape, grpo_step.prompts_of(vlm, shape), completions(shape, 1)
        with replaced(Optimization, "_check_precision", lambda self: None):  # the rivals train bf16 weights as well
            self.ours = grpo_step.Ours(vlm, self.prompts, shape)
        self.batch = self.with_lengths(1)
        prompt = len(self.ours.trainer.encoder.encode(self.prompts[0]).input_ids)
        answers = sum(len(row) for group in self.ids for row in group)
        self.tokens, self.repeated = prompt + answers, shape.group_size * prompt + answers
        head = answers * text.hidden_size * text.vocab_size
        self.flops = 6 * (weights * self.tokens + head)  # of the language model; checkpointing computes a third more
        limit = 6 * (weights * self.repeated + head) / self.flops
        self.about = {
            "prompt": prompt,
            "tokens packed": self.tokens,
            "tokens repeated": self.repeated,
            "limit of the speed-up by operations": round(limit, 2),
            "model TFLOP": round(self.flops / 1e12, 1),
        }

    def with_lengths(self, seed: int) -> Any:
        """A prepared update with completions of other lengths."""
        groups = [
            tuple(Completion("", row, (0.0,) * len(row), "stop") for row in group)
            for group in completions(self.shape, seed)
        ]
        self.ours.engine.stream = lambda requests, sampling: iter(enumerate(groups))  # type: ignore[method-assign]
        return self.ours.prepare()

    def update(self, batch: Any = None) -> None:
        for p in vlm.model.parameters():
            p.grad = None
        self.ours.update(batch or self.batch)

    def figures(self, work: Callable[[], Any] | None = None) -> dict[str, Any]:
        work = work or self.update
        first = wall(work)
        seconds = min(wall(work) for _ in range(1 if SMOKE else 4))
        return {
            "first s": round(first, 3),
            "s": round(seconds, 4),
            "tokens/s": round(self.tokens / seconds),
            "share of the bf16 peak": round(self.flops / seconds / PEAK, 3),
            "peak MB": peak_mb(work),
        }


def checkpointing(on: bool) -> None:
    if on:
        vlm.model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        vlm.model.gradient_checkpointing_disable()


small = Row(SMALL)
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


def profile(work: Callable[[], Any], file: str) -> dict[str, Any]:
    kinds = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if CUDA else [])
    work()
    with torch.profiler.profile(activities=kinds) as p:
        seconds = wall(work)
    averages = p.key_averages()
    order = "self_cuda_time_total" if CUDA else "self_cpu_time_total"
    (OUT / file).write_text(averages.table(sort_by=order, row_limit=40, max_name_column_width=80))
    device = sum(e.self_device_time_total for e in averages if str(e.device_type).endswith("CUDA")) / 1e6
    names = "cudaLaunchKernel", "cudaStreamSynchronize", "cudaMemcpyAsync", "aten::item", "aten::nonzero"
    calls = {e.key: [e.count, round(e.cpu_time_total / 1e3, 1)] for e in averages if e.key in names}
    return {"s with the profiler": round(seconds, 3), "device s": round(device, 3), "calls [count, cpu ms]": calls}


large = Row(LARGE)
put("row of 8k", large.about)
attempt("8k: ours, no checkpointing", large.figures, 10)
attempt("8k: profile", lambda: profile(large.update, "profile.txt"), 15)
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
release()
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


def fused(by: str) -> dict[str, Any]:
    fuse_layers(vlm.model, by)  # type: ignore[arg-type]
    return large.figures()


# last: they change the model
attempt("8k: ours, no checkpointing, Liger's norms and MLPs", lambda: fused("liger"), 10)
attempt("8k: profile with Liger", lambda: profile(large.update, "profile_liger.txt"), 15)
