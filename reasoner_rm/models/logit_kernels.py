"""What the loss needs of logits, and its gradient back to them: on CUDA by Triton kernels that read each logit once
(:mod:`reasoner_rm.models.logit_triton`), elsewhere by torch's operators."""

from __future__ import annotations

import functools
import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor


class RowStatistics(NamedTuple):
    """Of logits [T, V]: ``logprobs`` [T] of given tokens, ``norms`` [T], the log-sum-exps, ``entropy`` [T] of the
    distributions, and ``is_argmax`` [T], 1 where the token is the most probable one."""

    logprobs: Tensor
    norms: Tensor
    entropy: Tensor | None
    is_argmax: Tensor | None


def row_statistics(logits: Tensor, ids: Tensor, *, entropy: bool, argmax: bool) -> RowStatistics:
    """Of ``logits`` [T, V] in fp32, and tokens ``ids`` [T]; entropy and argmax on request."""
    if _use_triton(logits):
        from reasoner_rm.models import logit_triton

        chosen, norms, entropies, best = logit_triton.row_statistics(logits, ids)
        return RowStatistics(chosen - norms, norms, entropies if entropy else None, best if argmax else None)
    norms = logits.logsumexp(-1)
    return RowStatistics(
        logits.gather(-1, ids[:, None])[:, 0] - norms,
        norms,
        _entropy(logits, norms) if entropy else None,
        (logits.argmax(-1) == ids).float() if argmax else None,
    )


def _entropy(logits: Tensor, norms: Tensor) -> Tensor:
    probs = (logits - norms[:, None]).exp_()
    return norms - probs.mul_(logits).nansum(-1)  # 0 · -inf of what is banned is NaN


def logit_gradient(logits: Tensor, ids: Tensor, norms: Tensor, grad: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient [T, V] in ``dtype`` of ``logits``, which may be overwritten, where ``grad`` [T] is that of the
    tokens' log-probabilities."""
    if _use_triton(logits):
        from reasoner_rm.models import logit_triton

        return logit_triton.logit_gradient(logits, ids, norms, grad, dtype)
    logits.sub_(norms[:, None]).exp_().mul_(-grad[:, None]).scatter_add_(1, ids[:, None], grad[:, None])
    return logits.to(dtype)


def _use_triton(logits: Tensor) -> bool:
    return logits.is_cuda and logits.dtype == torch.float32 and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
