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

from reasoner_rm.models.logit_kernels import logit_gradient, row_statistics

Head: TypeAlias = Callable[[Tensor], Tensor]

MAX_LOGITS = 2**25
"""The most logits that exist at once (128 MB in fp32). A larger batch is computed in chunks, which the backward pass
computes again."""
MAX_LOGITS_CUDA = 2**28
"""The same on a GPU, where a product of few rows does not fill the device (1 GB in fp32)."""
WEIGHT_BLOCK = 2**20
"""How many weights of a half-precision head a CPU converts at once: what fits in its cache."""


def processed_logits(head: Head, hidden: Tensor, banned_token_ids: Sequence[int], temperature: float) -> Tensor:
    """The sampler's logits [..., V] in fp32: divided by the temperature, banned tokens at minus infinity."""
    logits = head(hidden).float()
    if temperature != 1.0:
        logits /= temperature
    return logits.index_fill_(-1, _index(tuple(banned_token_ids), logits.device), -torch.inf)


@functools.lru_cache(maxsize=8)
def _index(ids: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(ids, dtype=torch.long, device=device)


def fp32_linear(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``hidden`` [..., D] times ``weight`` [V, D], in autocast's dtype where that is on, but summed and returned in
    fp32. Logits above 16 rounded to bf16 are multiples of 0.125, in which the probabilities of close options are equal.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    with torch.autocast(device, enabled=False):
        if dtype.itemsize > 2:
            return F.linear(hidden, weight, bias)
        logits = _product(hidden.flatten(0, -2), weight).unflatten(0, hidden.shape[:-1])
        return logits if bias is None else logits + bias


def _product(hidden: Tensor, weight: Tensor) -> Tensor:
    """[T, D] times [V, D] of half precision, in fp32."""
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return hidden.float() @ weight.float().T
    if hidden.is_cuda:
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)
    hidden, logits = hidden.float(), hidden.new_empty(len(hidden), len(weight), dtype=torch.float32)
    rows = max(1, WEIGHT_BLOCK // weight.shape[1])
    buffer = torch.empty(rows, weight.shape[1], device=hidden.device)
    for start in range(0, len(weight), rows):
        block = weight[start : start + rows]
        logits[:, start : start + rows] = hidden @ buffer[: len(block)].copy_(block).T
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
        ctx.settings, ctx.logits, ctx.chunks = settings, None, _chunks(len(ids), len(weight), device)
        logprobs, norms, entropies, is_argmax = (torch.zeros(len(ids), device=hidden.device) for _ in range(4))

        def compute(rows: slice) -> Tensor:
            logits = processed_logits(functools.partial(fp32_linear, weight=weight), hidden[rows], *settings)
            found = row_statistics(logits, ids[rows], entropy=entropy, argmax=argmax)
            logprobs[rows], norms[rows] = found.logprobs, found.norms
            if found.entropy is not None:
                entropies[rows] = found.entropy
            if found.is_argmax is not None:
                is_argmax[rows] = found.is_argmax
            return logits

        if needs_grad and len(ctx.chunks) == 1:
            ctx.logits = compute(ctx.chunks[0])  # of more chunks the backward pass computes them again
        else:
            for rows in ctx.chunks:
                compute(rows)
        ctx.save_for_backward(hidden, weight, ids, norms)
        ctx.mark_non_differentiable(entropies, is_argmax)
        return logprobs, entropies, is_argmax

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, ids, norms = ctx.saved_tensors
        head, grad = weight.to(ctx.dtype), grad / ctx.settings[1]
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = torch.promote_types(weight.dtype, torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=total) if ctx.needs_input_grad[1] else None
        for rows in ctx.chunks:
            states = hidden[rows].to(ctx.dtype)
            logits, ctx.logits = ctx.logits, None
            if logits is None:
                logits = processed_logits(functools.partial(fp32_linear, weight=head), states, *ctx.settings)
            grad_logits = logit_gradient(logits, ids[rows], norms[rows], grad[rows], ctx.dtype)
            del logits
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ head
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.T, states)
            del grad_logits  # before the next chunk's logits exist
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, None, None, None, None, None


def _chunks(tokens: int, vocabulary: int, device: str) -> list[slice]:
    size = max(1, (MAX_LOGITS_CUDA if device == "cuda" else MAX_LOGITS) // vocabulary)
    return [slice(at, at + size) for at in range(0, tokens, size)]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a product to an fp32 ``total``; of half-precision factors it is summed in fp32, too, where a kernel can."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif a.is_cuda:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total.add_(a @ b)


def patch_lm_head(head: torch.nn.Module) -> None:
    """Make a head return logits in fp32 (`fp32_linear`), and add the keyword ``within``: a function of the hidden
    states that may use the head's weights any number of times, and whose result the call returns.

    A sharded module gathers its weights at each call, and all ranks must make equally many calls. The number of chunks
    differs by rank, so they are all computed within one call.
    """
    head.forward = _ForwardWithin(head)  # type: ignore[method-assign]


class _ForwardWithin:
    def __init__(self, head: torch.nn.Module):
        self.head = head

    def __call__(self, hidden: Tensor, within: Callable[[Tensor], Any] | None = None) -> Any:
        if within is not None:
            return within(hidden)
        if type(self.head) is torch.nn.Linear:
            return fp32_linear(hidden, self.head.weight, self.head.bias)
        return type(self.head).forward(self.head, hidden)
