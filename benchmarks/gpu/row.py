"""Updates of a GRPO step on one group with given completions, at Qwen2.5-VL-3B's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpo_step
from harness import SMOKE, peak_mb, replaced, wall
from model import completions

from reasoner_rm.models.loading import Vlm
from reasoner_rm.schema import Completion
from reasoner_rm.training.optimization import Optimization

SMALL = grpo_step.Shape(1, 4, 300, 16, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 512, 512)
LARGE = grpo_step.Shape(1, 4, 300, 32, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 1200, 512)
PEAK = 989e12
"""Operations a second of an H100's or H200's tensor cores in bf16."""


class Row:
    """One group with given completions, as a prepared update."""

    def __init__(self, vlm: Vlm, shape: grpo_step.Shape):
        self.vlm = vlm
        text = vlm.model.config.get_text_config()
        layers = vlm.model.model.language_model.layers
        weights = sum(p.numel() for p in layers.parameters() if p.dim() == 2)
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
        for p in self.vlm.model.parameters():
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
