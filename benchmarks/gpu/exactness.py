"""The kernels against fp64 with a mask, and packed log-probabilities against the repeated form, in bf16 and fp32."""

from __future__ import annotations

from typing import Any

import grpo_step
import torch
from harness import CUDA, DEVICE, SMOKE, attempt, relative_error, replaced
from model import completions, random_policy
from rivals import GroupedAttention, dense

from reasoner_rm.models import packing
from reasoner_rm.models.attention import PackedAttention
from reasoner_rm.models.group_logprobs import repeated_logprobs, shared_prefix_logprobs
from reasoner_rm.models.prompt_encoder import PromptEncoder

ROWS: dict[str, tuple[list[int], list[list[int]]]] = {
    "ragged": ([70, 96, 40], [[33, 20, 41], [17, 64], [5]]),
    "with empty completions": ([70, 33, 40], [[33, 0, 41], [0, 0], [5]]),
}


def kernel(form: Any, dtype: torch.dtype, row: tuple[list[int], list[list[int]]], dim: int) -> dict[str, float]:
    """Relative errors of output and gradients."""
    torch.manual_seed(0)
    tokens = sum(row[0]) + sum(map(sum, row[1]))
    exact = [torch.randn(tokens, n, dim, device=DEVICE, dtype=torch.float64) for n in (8, 2, 2, 8)]
    exact = [x.to(dtype).double() for x in exact]
    *leaves, grad = (x.to(dtype).requires_grad_() for x in exact)
    wanted = [x.requires_grad_() for x in exact[:3]]
    outs = [
        form(*row, DEVICE).attend(0, *(x[None].transpose(1, 2) for x in leaves), dim**-0.5)[0],
        dense(*wanted, *row, dim**-0.5),
    ]
    outs[0].backward(grad.detach())
    outs[1].backward(exact[3])
    pairs = [outs, *([a.grad, b.grad] for a, b in zip(leaves, wanted, strict=True))]
    return {
        name: relative_error(a.detach(), b.detach())
        for name, (a, b) in zip(("out", "dq", "dk", "dv"), pairs, strict=True)
    }


for dtype in (torch.bfloat16, torch.float32):
    for name, row in ROWS.items():
        for dim in (128, 80):
            label = f"{dtype}, {name}, {dim} wide"
            attempt(label, lambda dtype=dtype, row=row, dim=dim: kernel(PackedAttention, dtype, row, dim), 3)
    attempt(
        f"{dtype}, ragged, PrefixGrouper's form",
        lambda dtype=dtype: kernel(GroupedAttention, dtype, ROWS["ragged"], 128),
        3,
    )


def logprobs() -> dict[str, Any]:
    """Differences of log-probabilities of four layers of the model: mean and greatest."""
    vlm = random_policy(2 if SMOKE else 4, torch.float32)
    shape = grpo_step.Shape(2, 4, 300, 40, 112)
    encoder = PromptEncoder(vlm)
    prompts = encoder.batch([encoder.encode(p) for p in grpo_step.prompts_of(vlm, shape)])
    ids = completions(shape, 5)

    @torch.no_grad()
    def read(form: Any, attention: Any = PackedAttention) -> torch.Tensor:
        with replaced(packing, "PackedAttention", attention):
            out = form(vlm, prompts, ids)
        return out.logprobs[out.mask.bool()].double()

    def gap(a: torch.Tensor, b: torch.Tensor) -> list[float]:
        return [float(f"{x:.2e}") for x in ((a - b).abs().mean(), (a - b).abs().max())]

    exact = read(repeated_logprobs)
    out: dict[str, Any] = {"fp32 packed - repeated": gap(read(shared_prefix_logprobs), exact)}
    vlm.model.to(torch.bfloat16)
    packed, repeated = read(shared_prefix_logprobs), read(repeated_logprobs)
    return out | {
        "bf16 repeated - fp32": gap(repeated, exact),
        "bf16 packed - fp32": gap(packed, exact),
        "bf16 PrefixGrouper's form - fp32": gap(read(shared_prefix_logprobs, GroupedAttention), exact),
        "bf16 packed - bf16 repeated": gap(packed, repeated),
    }


if CUDA or SMOKE:
    attempt("log-probabilities", logprobs, 20)
