"""Attention within the segments of one row, and from these to a shared prefix, by kernels for variable lengths.

Segment i of the queries attends to segment i of the keys. With a prefix each query attends to a second set of keys as
well: both parts are computed on their own and joined by their log-sum-exps. The backward pass gives each part the
joined output and log-sum-exp, from which its kernel recomputes the joint probabilities, as ring attention does
(arXiv 2310.01889).

On CUDA in half precision a part is one call of torch's flash kernel, whatever the number of segments;
`torch.nn.attention.activate_flash_attention_impl` replaces that kernel. Elsewhere a part is one call per run of
segments of equal lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Rest: TypeAlias = tuple[Tensor, ...]
"""What a kernel's forward pass hands to its backward pass beside output and log-sum-exp."""


class Segments:
    """Consecutive segments of a row of tokens; any of them may be empty. ``offsets`` [n + 1] are on the device."""

    def __init__(self, lengths: Sequence[int], device: Any):
        self.lengths = tuple(lengths)
        self.offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

    @cached_property
    def longest(self) -> int:
        return max(self.lengths, default=0)


class Prefix(NamedTuple):
    """The first tokens of the row, as ``keys``, are a prefix of the last ones, as ``queries``."""

    queries: Segments
    keys: Segments


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    *,
    causal: bool,
    prefix: Prefix | None = None,
) -> Tensor:
    """Attention of a row of L tokens; differentiable. Under autocast it computes in autocast's dtype.

    Args:
        query: [L, H, D]; ``key`` and ``value`` [L, K, D], with K dividing H.
        segments: of queries and keys alike.
        causal: within a segment.
        prefix: what the last tokens attend to beside their own segment.

    Returns:
        [L, H, D].
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    out: Tensor = _SegmentAttention.apply(query, key, value, segments, scale, causal, prefix)
    return out


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Segments,
        scale: float,
        causal: bool,
        prefix: Prefix | None,
    ) -> Tensor:
        ctx.plan = segments, scale, causal, prefix
        out, lse, ctx.rest = _forward(query, key, value, segments, segments, scale, causal)
        if prefix is not None:
            last, first = _last_and_first(len(query), prefix)
            more, more_lse, ctx.prefix_rest = _forward(query[last], key[first], value[first], *prefix, scale, False)
            own_lse = lse[:, last].clone()
            lse[:, last] = torch.logaddexp(own_lse, more_lse)
            weight, more_weight = ((part - lse[:, last]).exp().T[..., None] for part in (own_lse, more_lse))
            out[last] = more.to(lse.dtype).mul_(more_weight).addcmul_(out[last], weight)
        ctx.save_for_backward(query, key, value, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        segments, scale, causal, prefix = ctx.plan
        grad = grad.contiguous()
        grads = _backward(grad, query, key, value, out, lse, segments, segments, scale, causal, ctx.rest)
        if prefix is not None:
            last, first = _last_and_first(len(query), prefix)
            joined = query[last], key[first], value[first], out[last], lse[:, last].contiguous()
            more = _backward(grad[last], *joined, prefix.queries, prefix.keys, scale, False, ctx.prefix_rest)
            for total, rows, part in zip(grads, (last, first, first), more, strict=True):
                total[rows] += part
        return (*grads, None, None, None, None)


def _last_and_first(tokens: int, prefix: Prefix) -> tuple[slice, slice]:
    return slice(tokens - sum(prefix.queries.lengths), tokens), slice(0, sum(prefix.keys.lengths))


# --- kernels: outputs [L, H, D] and log-sum-exps [H, L] ---------------------------------------------------------------


def _has_flash(query: Tensor) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and half and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256


def _forward(
    q: Tensor, k: Tensor, v: Tensor, queries: Segments, keys: Segments, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Rest]:
    if _has_flash(q):
        lengths = queries.offsets, keys.offsets, queries.longest, keys.longest
        out, lse, *rest, _ = torch.ops.aten._flash_attention_forward(q, k, v, *lengths, 0.0, causal, False, scale=scale)
        return out, lse, tuple(rest)
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    lse = out.new_full((q.shape[1], len(q)), -torch.inf, dtype=torch.promote_types(q.dtype, torch.float32))
    for run in _runs(queries, keys):
        some, their_lse = _dense_forward(run.q(q), run.k(k), run.k(v), scale, causal)
        out[run.rows] = some.transpose(1, 2).flatten(0, 1)
        lse[:, run.rows] = their_lse.transpose(0, 1).flatten(1)
    return out, lse, ()


def _backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    queries: Segments,
    keys: Segments,
    scale: float,
    causal: bool,
    rest: Rest,
) -> tuple[Tensor, Tensor, Tensor]:
    if _has_flash(q):
        lengths = queries.offsets, keys.offsets, queries.longest, keys.longest
        dq, dk, dv = torch.ops.aten._flash_attention_backward(
            grad, q, k, v, out, lse, *lengths, 0.0, causal, *rest, scale=scale
        )
        return dq, dk, dv
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for run in _runs(queries, keys):
        their_lse = lse[:, run.rows].unflatten(1, (run.segments, -1)).transpose(0, 1)
        batch = run.q(grad), run.q(q), run.k(k), run.k(v), run.q(out)
        some = _dense_backward(*batch, their_lse, scale, causal)
        for total, rows, part in zip((dq, dk, dv), (run.rows, run.columns, run.columns), some, strict=True):
            total[rows] = part.transpose(1, 2).flatten(0, 1)
    return dq, dk, dv


class _Run(NamedTuple):
    """So many neighbouring ``segments`` of the same lengths: ``rows`` of the queries, ``columns`` of the keys."""

    segments: int
    rows: slice
    columns: slice

    def q(self, x: Tensor) -> Tensor:
        """[L, H, D] to the run's [count, H, length, D]."""
        return x[self.rows].unflatten(0, (self.segments, -1)).transpose(1, 2)

    def k(self, x: Tensor) -> Tensor:
        return x[self.columns].unflatten(0, (self.segments, -1)).transpose(1, 2)


def _runs(queries: Segments, keys: Segments) -> Iterator[_Run]:
    """Segments without queries or without keys are left out."""
    row = column = 0
    for (rows, columns), same in groupby(zip(queries.lengths, keys.lengths, strict=True)):
        count = sum(1 for _ in same)
        if rows and columns:
            yield _Run(count, slice(row, row + count * rows), slice(column, column + count * columns))
        row, column = row + count * rows, column + count * columns


def _dense_forward(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Outputs [B, H, L, D] and log-sum-exps [B, H, L] of a batch of segments."""
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
        return out, lse
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, None, True, is_causal=causal, scale=scale
    )
    return out, lse[..., : q.shape[2]]


def _dense_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if q.device.type == "cpu":
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )
        return dq, dk, dv
    times = q.shape[1] // k.shape[1]
    repeated = (x.repeat_interleave(times, 1) for x in (k, v))
    lse = F.pad(lse, (0, -lse.shape[-1] % 32), value=torch.inf)  # the kernel's tiles have 32 rows
    seed = torch.zeros((), dtype=torch.long, device=q.device)  # of a dropout that there is not
    dq, dk, dv, _ = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
        grad, q, *repeated, None, out, lse, seed, seed, 0.0, [True, True, True, False], causal, scale=scale
    )
    return dq, dk.unflatten(1, (-1, times)).sum(2), dv.unflatten(1, (-1, times)).sum(2)
