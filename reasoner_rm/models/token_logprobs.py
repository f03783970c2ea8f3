"""Log-probabilities of chosen tokens: logits exist in bounded numbers only, and their gradient has a closed form.

What Liger's fused losses save for one loss each, for whatever is made of log-probabilities. Left to autograd, five
arrays of logits would live at once, and the gradient of a head that works in parts would be held three times.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from reasoner_rm.models.lm_head import Head

MAX_LOGITS = 2**25
"""How many logits may exist at once (128 MB in fp32). Where a batch has more, the head runs in parts, and again in the
backward pass."""


def processed_logits(head: Head, hidden: Tensor, banned_token_ids: Sequence[int], temperature: float) -> Tensor:
    """What is sampled from: fp32 logits over T, banned tokens at minus infinity. [..., V]"""
    logits = head(hidden).float()
    if temperature != 1.0:
        logits /= temperature
    logits[..., list(banned_token_ids)] = -torch.inf
    return logits


class TokenLogprobs(NamedTuple):
    """``logprobs`` [T] of given tokens. Without a gradient, and on request: ``entropy`` [T] of their distributions, and
    ``is_argmax`` [T], 1 where the token is the most probable one."""

    logprobs: Tensor
    entropy: Tensor | None = None
    is_argmax: Tensor | None = None


def chunked_token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    ids: Tensor,
    banned_token_ids: Sequence[int],
    temperature: float,
    *,
    entropy: bool = False,
    argmax: bool = False,
) -> TokenLogprobs:
    """Log-probabilities of ``ids`` [T] under ``hidden`` [T, D] and a head's ``weight`` [V, D]."""
    settings = (banned_token_ids, temperature)
    logprobs, spread, top = _Chosen.apply(hidden, weight, ids, settings, entropy, argmax, torch.is_grad_enabled())
    return TokenLogprobs(logprobs, spread if entropy else None, top if argmax else None)


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        ids: Tensor,
        how: tuple[Any, Any],
        entropy: bool,
        argmax: bool,
        learns: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = hidden.device.type
        ctx.kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        ctx.how, ctx.kept, ctx.parts = how, None, _parts(len(ids), len(weight))
        logprobs, norms, spread, top = (torch.zeros(len(ids), device=hidden.device) for _ in range(4))

        def read(rows: slice) -> Tensor | None:
            logits = processed_logits(functools.partial(F.linear, weight=weight), hidden[rows], *how)
            norms[rows] = logits.logsumexp(-1)
            if argmax:
                top[rows] = (logits.argmax(-1) == ids[rows]).float()
            logprobs[rows] = logits.gather(-1, ids[rows, None])[:, 0] - norms[rows]
            whole = learns and len(ctx.parts) == 1  # then what backward needs is not made again
            if not entropy:
                return logits.sub_(norms[rows, None]).exp_() if whole else None
            probs = (logits - norms[rows, None]).exp_()
            spread[rows] = norms[rows] - torch.einsum("tv,tv->t", probs, logits.masked_fill_(probs == 0, 0.0))
            return probs if whole else None

        for rows in ctx.parts:
            ctx.kept = read(rows)
        ctx.save_for_backward(hidden, weight, ids, norms)
        ctx.mark_non_differentiable(spread, top)
        return logprobs, spread, top

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, ids, norms = ctx.saved_tensors
        head, grad = weight.to(ctx.kind), grad[:, None] / ctx.how[1]
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for rows in ctx.parts:
            states = hidden[rows].to(ctx.kind)
            slope, ctx.kept = ctx.kept, None
            if slope is None:
                slope = processed_logits(functools.partial(F.linear, weight=head), states, *ctx.how)
                slope.sub_(norms[rows, None]).exp_()
            slope.mul_(-grad[rows]).scatter_add_(1, ids[rows, None], grad[rows])
            slope = slope.to(ctx.kind)
            if of_hidden is not None:
                of_hidden[rows] = slope @ head
            if of_weight is not None:
                _add_product(of_weight, slope.T, states)
        return of_hidden, of_weight, None, None, None, None, None


def _parts(tokens: int, vocabulary: int) -> list[slice]:
    size = max(1, MAX_LOGITS // vocabulary)
    return [slice(at, at + size) for at in range(0, tokens, size)]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)
