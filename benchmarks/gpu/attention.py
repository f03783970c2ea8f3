"""One layer's shared-prefix attention, forward and backward: time, launches and memory against its rivals."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import CUDA, DEVICE, SMOKE, attempt, launches, milliseconds, peak_mb, wall
from rivals import GroupedAttention

from reasoner_rm.models.attention import PackedAttention

torch.backends.cuda.enable_cudnn_sdp(False)  # as `models.loading.prepare` sets it
DTYPE = torch.bfloat16 if CUDA else torch.float32
FORMS: dict[str, Any] = {"ours": PackedAttention, "PrefixGrouper's form": GroupedAttention}


def lengths(groups: int, prompt: int, low: int, high: int, seed: int = 0) -> tuple[list[int], list[list[int]]]:
    draw = random.Random(seed)
    return [prompt] * groups, [[draw.randint(low, high) for _ in range(8)] for _ in range(groups)]


def tensors(prompts: list[int], completions: list[list[int]], heads: int, shared: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    tokens = sum(prompts) + sum(map(sum, completions))
    return [
        torch.randn(1, tokens, n, 128, device=DEVICE, dtype=DTYPE, requires_grad=True) for n in (heads, shared, shared)
    ]


def layer(
    form: Any, leaves: list[torch.Tensor], prompts: list[int], completions: list[list[int]]
) -> Callable[[], None]:
    pattern = form(prompts, completions, DEVICE)
    grad = torch.randn_like(leaves[0])

    def work() -> None:
        q, k, v = (x.transpose(1, 2) for x in leaves)
        pattern.attend(0, q, k, v, 128**-0.5).backward(grad)

    return work


def measure(form: Any, heads: int, shared: int, prompts: list[int], completions: list[list[int]]) -> dict[str, Any]:
    pairs = sum(
        p * (p + 1) / 2 + sum(c * p + c * (c + 1) / 2 for c in row) for p, row in zip(prompts, completions, strict=True)
    )
    work = layer(form, tensors(prompts, completions, heads, shared), prompts, completions)
    spent = milliseconds(work)
    speed = round(3.5 * 4 * heads * 128 * pairs / spent / 1e9)
    return {"ms": spent, "TFLOP/s": speed, "launches": launches(work), "peak MB": peak_mb(work)}


SHAPES = {
    "3B, 1 group of 632 + 8 x 600..1000": (16, 2, *lengths(1, 632, 600, 1000)),
    "3B, 8 groups of 632 + 8 x 20..100": (16, 2, *lengths(8, 632, 20, 100)),
    "3B, 32 groups of 632 + 8 x 20..100": (16, 2, *lengths(32, 632, 20, 100)),
    "7B, 1 group of 8192 + 8 x 1500..2048": (28, 4, *lengths(1, 8192, 1500, 2048)),
}
if SMOKE:
    SHAPES = {f"{n} groups": (8, 2, *lengths(n, 40, 5, 9)) for n in (1, 2, 8)}
for name, row_shape in SHAPES.items():
    for label, form in FORMS.items():
        attempt(f"{name}: {label}", partial(measure, form, *row_shape), 5)


def fresh(form: Any) -> list[float]:
    """Milliseconds of rows whose lengths are new each time, as in training."""
    spent = []
    for seed in range(1, 6):
        row = lengths(1, 40, 5, 9, seed) if SMOKE else lengths(1, 632, 5, 900, seed)
        spent.append(wall(layer(form, tensors(*row, 16, 2), *row)))
    return [round(1e3 * s, 1) for s in spent]


for label, form in FORMS.items():
    attempt(f"new lengths each time, ms: {label}", partial(fresh, form), 5)
