"""Log-probabilities of given tokens, computed in chunks so that few logits exist at once, with an analytic gradient.

Liger's fused losses save the same memory for one loss each; this works for any loss on log-probabilities. Autograd
would hold five arrays of logits at once, and the gradient of a chunked head three times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Head: TypeAlias = Callable[[Tensor], Tensor]

MAX_LOGITS = 2**25
"""The most logits that exist at once (128 MB in fp32). A larger batch is computed in chunks, which the backward pass
computes again."""


def processed_logits(head: Head, hidden: Tensor, banned_token_ids: Sequence[int], temperature: float) -> Tensor:
    """The sampler's logits [..., V] in fp32: divided by the temperature, banned tokens at minus infinity."""
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
    logprobs, entropies, is_argmax = _TokenLogprobs.apply(
        hidden, weight, ids, settings, entropy, argmax, torch.is_grad_enabled()
    )
    return TokenLogprobs(logprobs, entropies if entropy else None, is_argmax if argmax else None)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        ids: Tensor,
        settings: tuple[Any, Any],
        entropy: bool,
        argmax: bool,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = hidden.device.type
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        ctx.settings, ctx.probs, ctx.chunks = settings, None, _chunks(len(ids), len(weight))
        logprobs, norms, entropies, is_argmax = (torch.zeros(len(ids), device=hidden.device) for _ in range(4))

        def compute(rows: slice) -> Tensor | None:
            logits = processed_logits(functools.partial(F.linear, weight=weight), hidden[rows], *settings)
            norms[rows] = logits.logsumexp(-1)
            if argmax:
                is_argmax[rows] = (logits.argmax(-1) == ids[rows]).float()
            logprobs[rows] = logits.gather(-1, ids[rows, None])[:, 0] - norms[rows]
            keep = needs_grad and len(ctx.chunks) == 1  # a single chunk's probabilities are kept for backward
            if not entropy:
                return logits.sub_(norms[rows, None]).exp_() if keep else None
            probs = (logits - norms[rows, None]).exp_()
            entropies[rows] = norms[rows] - torch.einsum("tv,tv->t", probs, logits.masked_fill_(probs == 0, 0.0))
            return probs if keep else None

        for rows in ctx.chunks:
            ctx.probs = compute(rows)
        ctx.save_for_backward(hidden, weight, ids, norms)
        ctx.mark_non_differentiable(entropies, is_argmax)
        return logprobs, entropies, is_argmax

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, ids, norms = ctx.saved_tensors
        head, grad = weight.to(ctx.dtype), grad[:, None] / ctx.settings[1]
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for rows in ctx.chunks:
            states = hidden[rows].to(ctx.dtype)
            grad_logits, ctx.probs = ctx.probs, None
            if grad_logits is None:
                grad_logits = processed_logits(functools.partial(F.linear, weight=head), states, *ctx.settings)
                grad_logits.sub_(norms[rows, None]).exp_()
            grad_logits.mul_(-grad[rows]).scatter_add_(1, ids[rows, None], grad[rows])
            grad_logits = grad_logits.to(ctx.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ head
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.T, states)
        return grad_hidden, grad_weight, None, None, None, None, None


def _chunks(tokens: int, vocabulary: int) -> list[slice]:
    size = max(1, MAX_LOGITS // vocabulary)
    return [slice(at, at + size) for at in range(0, tokens, size)]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)


def patch_lm_head(head: torch.nn.Module) -> None:
    """Add the keyword ``within`` to a head: a function of the hidden states that may use the head's weights any number
    of times, and whose result the call returns.

    A sharded module gathers its weights at each call, and all ranks must make equally many calls. The number of chunks
    differs by rank, so they are all computed within one call.
    """
    head.forward = _ForwardWithin(head)  # type: ignore[method-assign]


class _ForwardWithin:
    def __init__(self, head: torch.nn.Module):
        self.head = head

    def __call__(self, hidden: Tensor, within: Callable[[Tensor], Any] | None = None) -> Any:
        return type(self.head).forward(self.head, hidden) if within is None else within(hidden)
