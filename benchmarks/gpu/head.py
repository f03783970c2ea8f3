"""The chunked head at Qwen2.5-VL-3B's vocabulary, forward and backward, against TRL's fused one."""

from __future__ import annotations

from typing import Any

import torch
from harness import CUDA, DEVICE, SMOKE, attempt, launches, milliseconds, peak_mb, relative_error, replaced

from reasoner_rm.models import token_logprobs
from reasoner_rm.models.token_logprobs import chunked_token_logprobs

tokens, width, vocabulary = (200, 64, 1000) if SMOKE else (7168, 2048, 151936)
torch.manual_seed(0)
hidden = (torch.randn(tokens, width, device=DEVICE) / 2).bfloat16().requires_grad_()
weight = (torch.randn(vocabulary, width, device=DEVICE) * 0.02).bfloat16().requires_grad_()
ids = torch.randint(0, vocabulary - 300, (tokens,), device=DEVICE)
banned = tuple(range(vocabulary - 276, vocabulary))
slope = torch.randn(tokens, device=DEVICE) / tokens
LIMIT = "MAX_LOGITS_CUDA" if CUDA else "MAX_LOGITS"


def ours() -> None:
    hidden.grad = weight.grad = None
    chunked_token_logprobs(hidden, weight, ids, banned, 1.0, entropy=True).logprobs.backward(slope)


def figures(work: Any) -> dict[str, Any]:
    spent = milliseconds(work, 3, 1)
    speed = round(8 * tokens * width * vocabulary / spent / 1e9)  # forward, again in the backward pass, two gradients
    return {"ms": spent, "TFLOP/s": speed, "launches": launches(work), "peak MB": peak_mb(work)}


for power in (25, 27, 28, 29):
    with replaced(token_logprobs, LIMIT, 2**power):
        attempt(f"ours, 2^{power} logits at once", lambda: figures(ours), 5)


def theirs() -> dict[str, Any]:
    from trl.kernels import ChunkedLogProbFunction

    def work() -> None:
        hidden.grad = weight.grad = None
        arguments = None, 1.0, min(vocabulary, 32768), None, 1.0, ("entropy",)
        ChunkedLogProbFunction.apply(hidden, weight, arguments[0], ids, *arguments[1:])[0].backward(slope)

    return figures(work)


attempt("TRL's fused head", theirs, 5)


def gradient() -> dict[str, float]:
    """Relative error of the head's gradient in bf16 against fp32."""
    rows = min(tokens, 3584)
    exact = [x.detach().float()[:rows].requires_grad_() for x in (hidden,)] + [weight.detach().float().requires_grad_()]
    chunked_token_logprobs(*exact, ids[:rows], banned, 1.0).logprobs.backward(slope[:rows])
    errors = {}
    for power in (25, 28):
        with replaced(token_logprobs, LIMIT, 2**power):
            hidden.grad = weight.grad = None
            chunked_token_logprobs(hidden[:rows], weight, ids[:rows], banned, 1.0).logprobs.backward(slope[:rows])
            errors[f"2^{power} logits at once"] = relative_error(weight.grad, exact[1].grad)
    return errors


attempt("relative error of the head's gradient", gradient, 5)


@torch.no_grad()
def exact() -> dict[str, float]:
    """Greatest differences from log_softmax in fp64 of the same fp32 logits."""
    rows = min(tokens, 512)
    logits = token_logprobs.fp32_linear(hidden[:rows], weight).double()
    logits[:, list(banned)] = -torch.inf
    wanted = logits.log_softmax(-1)
    chosen = wanted.gather(1, ids[:rows, None])[:, 0]
    spread = -(wanted.exp() * wanted).nansum(-1)
    found = chunked_token_logprobs(hidden[:rows], weight, ids[:rows], banned, 1.0, entropy=True, argmax=True)
    return {
        "logprobs": float(f"{(found.logprobs - chosen).abs().max():.1e}"),
        "entropy": float(f"{(found.entropy - spread).abs().max():.1e}"),
        "argmax": float((found.is_argmax.bool() != (logits.argmax(-1) == ids[:rows])).sum()),
    }


attempt("against log_softmax in fp64", exact, 5)


def distinct() -> dict[str, int]:
    """Distinct values of 64 logits around 20, from a head in bf16 and from ours."""
    states = torch.randn(64, width, device=DEVICE).mul_(0.01).add_(1).bfloat16()
    row = torch.full((1, width), 20 / width, device=DEVICE).bfloat16()
    with torch.no_grad():
        return {
            "bf16": len(torch.nn.functional.linear(states, row).unique()),
            "ours": len(token_logprobs.fp32_linear(states, row).unique()),
        }


attempt("distinct logits of 64 close states", distinct, 2)
