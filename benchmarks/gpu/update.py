"""The update of a GRPO step at Qwen2.5-VL-3B's shape in bf16: frozen tower, gradient checkpointing, no optimiser state.

One group of 8 completions of 256 to 512 tokens over a prompt with two images. Rivals on the same completions: TRL with
its fused head, the repeated form, PrefixGrouper's form of attention.
"""

from __future__ import annotations

import contextlib
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
from reasoner_rm.models.packing import forward_repeated, run_packed
from reasoner_rm.schema import Completion
from reasoner_rm.training.optimization import Optimization

shape = grpo_step.Shape(1, 4, 300, 16, 112) if SMOKE else grpo_step.Shape(1, 8, 800, 512, 512)
vlm = random_policy(dtype=torch.bfloat16 if CUDA else torch.float32)
vlm.model.gradient_checkpointing_enable({"use_reentrant": False})
prompts = grpo_step.prompts_of(vlm, shape)
with replaced(Optimization, "_check_precision", lambda self: None):  # the rivals train bf16 weights as well
    ours = grpo_step.Ours(vlm, prompts, shape)
ids = completions(shape, 1)


def batch(seed: int) -> Any:
    """A prepared update whose completions are given."""
    rows = completions(shape, seed)
    groups = [tuple(Completion("", row, (0.0,) * len(row), "stop") for row in group) for group in rows]
    ours.engine.stream = lambda requests, sampling: iter(enumerate(groups))  # type: ignore[method-assign]
    return ours.prepare()


def update(micro: Any) -> None:
    for p in vlm.model.parameters():
        p.grad = None
    ours.update(micro)


micro = batch(1)
text = vlm.model.config.get_text_config()
prompt = len(ours.trainer.encoder.encode(prompts[0]).input_ids)
answers = sum(len(row) for group in ids for row in group)
weights = sum(p.numel() for n, p in vlm.model.model.language_model.layers.named_parameters() if p.dim() == 2)
packed, repeated = prompt + answers, shape.group_size * prompt + answers
head = 6 * answers * text.hidden_size * text.vocab_size
flops = 6 * weights * packed + head  # of the model; checkpointing computes more
limit = (6 * weights * repeated + head) / flops
put("parameters G", round(sum(p.numel() for p in vlm.model.parameters()) / 1e9, 2))
put(
    "row",
    {
        "prompt": prompt,
        "tokens packed": packed,
        "tokens repeated": repeated,
        "limit of the speed-up by operations": round(limit, 2),
        "model TFLOP": round(flops / 1e12, 1),
    },
)


def timed(work: Callable[[], Any] = lambda: update(micro)) -> dict[str, Any]:
    first = wall(work)
    seconds = min(wall(work) for _ in range(1 if SMOKE else 3))
    return {
        "first s": round(first, 3),
        "s": round(seconds, 4),
        "tokens/s": round(packed / seconds),
        "TFLOP/s of the model": round(flops / seconds / 1e12),
    }


def form(forward: Any = run_packed, attention: Any = packing.PackedAttention) -> contextlib.ExitStack:
    """The update in another form."""
    from reasoner_rm.models import group_logprobs

    stack = contextlib.ExitStack()
    stack.enter_context(replaced(packing, "PackedAttention", attention))
    stack.enter_context(replaced(group_logprobs.group_logprobs, "__defaults__", _defaults(group_logprobs, forward)))
    return stack


def _defaults(module: Any, forward: Any) -> tuple[Any, ...]:
    return tuple(forward if callable(d) else d for d in module.group_logprobs.__defaults__)


attempt("ours", lambda: timed() | {"peak MB": peak_mb(lambda: update(micro))}, 15)
if isinstance(found.get("ours"), dict):
    again = 8 * weights * packed + 8 * answers * text.hidden_size * text.vocab_size
    put(
        "share of the bf16 peak of 989 TFLOP/s, checkpointing counted",
        round(again / found["ours"]["s"] / 989e12, 3),
    )
attempt("ours, new lengths each time, s", lambda: [round(wall(partial(update, batch(40 + i))), 3) for i in range(3)], 8)
for label, change in (
    ("PrefixGrouper's form", lambda: form(attention=GroupedAttention)),
    ("repeated form", lambda: form(forward=forward_repeated)),
):

    def rival(change: Any = change) -> dict[str, Any]:
        with change():
            return timed() | {"peak MB": peak_mb(lambda: update(micro))}

    attempt(label, rival, 20)


def without_checkpointing() -> dict[str, Any]:
    vlm.model.gradient_checkpointing_disable()
    try:
        return timed() | {"peak MB": peak_mb(lambda: update(micro))}
    finally:
        vlm.model.gradient_checkpointing_enable({"use_reentrant": False})


attempt("ours, no checkpointing", without_checkpointing, 15)


def profile() -> dict[str, Any]:
    kinds = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if CUDA else [])
    update(micro)
    with torch.profiler.profile(activities=kinds) as p:
        seconds = wall(lambda: update(micro))
    averages = p.key_averages()
    order = "self_cuda_time_total" if CUDA else "self_cpu_time_total"
    (OUT / "profile.txt").write_text(averages.table(sort_by=order, row_limit=45, max_name_column_width=90))
    device = sum(e.self_device_time_total for e in averages if str(e.device_type).endswith("CUDA")) / 1e6
    names = "cudaLaunchKernel", "cudaStreamSynchronize", "cudaMemcpyAsync", "aten::item", "aten::nonzero"
    calls = {e.key: [e.count, round(e.cpu_time_total / 1e3, 1)] for e in averages if e.key in names}
    return {"s with the profiler": round(seconds, 3), "device s": round(device, 3), "calls [count, cpu ms]": calls}


attempt("profile", profile, 20)


def trl() -> dict[str, Any]:
    """TRL's update; the gradients of the two models agree."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = grpo_step.Trl(vlm, prompts, shape, folder)
        theirs.trainer.rollout_func = lambda given, trainer: {
            "prompt_ids": trainer._tokenize_prompts(given)[0],
            "completion_ids": [list(row) for group in ids for row in group],
            "logprobs": None,
        }
        inputs = theirs.prepare()
        theirs.model.gradient_checkpointing_enable({"use_reentrant": False})

        def work() -> None:
            for p in theirs.model.parameters():
                p.grad = None
            theirs.update(inputs)

        return timed(work) | {"peak MB": peak_mb(work)}


for p in vlm.model.parameters():
    p.grad = None
release()
attempt("TRL", trl, 30)
for rival_name in ("TRL", "repeated form", "PrefixGrouper's form"):
    if all(isinstance(found.get(n), dict) for n in ("ours", rival_name)):
        speedup = found[rival_name]["s"] / found["ours"]["s"]
        put(f"speed-up over {rival_name}", round(speedup, 2))
        put(f"memory against {rival_name}", round(found["ours"]["peak MB"] / max(1, found[rival_name]["peak MB"]), 2))
