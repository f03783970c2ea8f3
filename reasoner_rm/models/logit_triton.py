"""Triton kernels over rows of fp32 logits."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""Logits that a program holds at once."""


def row_statistics(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of ``logits`` [T, V]: the logit of each row's token of ``ids`` [T], the log-sum-exp, the entropy, and 1 where the
    token is the most probable one; [T] each."""
    rows, vocabulary = logits.shape
    chosen, norms, entropy, is_argmax = (torch.empty(rows, device=logits.device) for _ in range(4))
    if rows:
        _statistics[(rows,)](
            logits, ids, chosen, norms, entropy, is_argmax, logits.stride(0), vocabulary, BLOCK=BLOCK, num_warps=8
        )
    return chosen, norms, entropy, is_argmax


def logit_gradient(logits: Tensor, ids: Tensor, norms: Tensor, grad: Tensor, dtype: torch.dtype) -> Tensor:
    """``grad`` [T] times (one-hot of ``ids`` minus the probabilities), [T, V] in ``dtype``."""
    rows, vocabulary = logits.shape
    out = torch.empty(rows, vocabulary, device=logits.device, dtype=dtype)
    if rows:
        grid = (rows, triton.cdiv(vocabulary, BLOCK))
        _gradient[grid](logits, ids, norms, grad, out, logits.stride(0), vocabulary, BLOCK=BLOCK, num_warps=8)
    return out


@triton.jit
def _statistics(logits, ids, chosen, norms, entropy, is_argmax, stride, vocabulary, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One row, block by block, with a running maximum: the sum of e^(x - max), and of (x - max) e^(x - max)."""
    row = tl.program_id(0)
    start_of_row = logits + row.to(tl.int64) * stride
    top = -1e38
    total = 0.0
    weighted = 0.0
    best = -1
    for start in range(0, vocabulary, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(start_of_row + columns, mask=columns < vocabulary, other=-float("inf"))
        block_top, place = tl.max(x, 0, return_indices=True)
        best = tl.where(block_top > top, start + place, best)
        new_top = tl.maximum(top, block_top)
        scale = tl.exp(top - new_top)
        power = tl.exp(x - new_top)
        weighted = (weighted + (top - new_top) * total) * scale
        weighted += tl.sum(tl.where(x == -float("inf"), 0.0, (x - new_top) * power), 0)
        total = total * scale + tl.sum(power, 0)
        top = new_top
    token = tl.load(ids + row)
    tl.store(chosen + row, tl.load(start_of_row + token))
    tl.store(norms + row, top + tl.log(total))
    tl.store(entropy + row, tl.log(total) - weighted / total)
    tl.store(is_argmax + row, tl.where(best == token, 1.0, 0.0))


@triton.jit
def _gradient(logits, ids, norms, grad, out, stride, vocabulary, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One block of a row."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < vocabulary
    x = tl.load(logits + row.to(tl.int64) * stride + columns, mask=inside, other=-float("inf"))
    probs = tl.exp(x - tl.load(norms + row))
    hit = tl.where(columns == tl.load(ids + row), 1.0, 0.0)
    value = tl.load(grad + row) * (hit - probs)
    tl.store(out + row.to(tl.int64) * vocabulary + columns, value.to(out.dtype.element_ty), mask=inside)
