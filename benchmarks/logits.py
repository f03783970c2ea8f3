"""Peak memory and time of a completion's token log-probabilities at a vocabulary of 151,936, forward and backward.

    python benchmarks/logits.py --json benchmarks/results/logits.json

Three forms alternate on the same states, head and tokens, in fp32 on the CPU. `whole` is log_softmax over all logits.
`parts` is the same over chunks of 2^25 logits, recomputed in the backward pass, with autograd's gradient. `closed` is
this project's (models/token_logprobs.py), with the gradient in closed form. Memory is the peak of torch's allocator
above its level before the call; seconds are medians.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

VOCABULARY, WIDTH, BANNED = 151_936, 256, tuple(range(151_900, 151_936))


def whole(hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    """log_softmax over all logits."""
    logits = (hidden @ weight.T).float()
    logits[:, list(BANNED)] = -torch.inf
    return logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]


def parts(hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    """The same in chunks of `MAX_LOGITS`, with checkpointing."""
    from reasoner_rm.models.token_logprobs import MAX_LOGITS

    pairs = zip(hidden.split(MAX_LOGITS // VOCABULARY), ids.split(MAX_LOGITS // VOCABULARY), strict=True)
    return torch.cat([checkpoint(whole, states, weight, targets, use_reentrant=False) for states, targets in pairs])


def closed(hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    """This project's form; it also computes the entropy."""
    from reasoner_rm.models.token_logprobs import chunked_token_logprobs

    return chunked_token_logprobs(hidden, weight, ids, BANNED, 1.0, entropy=True).logprobs


FORMS: dict[str, Callable[..., Tensor]] = {"whole": whole, "parts": parts, "closed": closed}


def measure(tokens: int, rounds: int) -> dict[str, Any]:
    """Peak memory and time of each form."""
    from peak_memory import peak_bytes

    torch.manual_seed(0)
    hidden = torch.randn(tokens, WIDTH, requires_grad=True)
    weight = (0.05 * torch.randn(VOCABULARY, WIDTH)).requires_grad_()
    ids = torch.randint(0, 151_000, (tokens,))

    def step(form: Callable[..., Tensor]) -> None:
        form(hidden, weight, ids).sum().backward()

    peaks = {}
    for name, form in FORMS.items():
        hidden.grad = weight.grad = None
        peaks[name] = peak_bytes(functools.partial(step, form))
    seconds: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(rounds):
        for name, form in FORMS.items():
            hidden.grad = weight.grad = None
            start = time.perf_counter()
            step(form)
            seconds[name].append(time.perf_counter() - start)
    return {
        "tokens": tokens,
        "vocabulary": VOCABULARY,
        "width": WIDTH,
        "head_mb": weight.nbytes / 1e6,
        "peak_mb": {name: round(peak / 1e6, 1) for name, peak in peaks.items()},
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = measure(args.tokens, args.rounds)
    for name in FORMS:
        print(f"{name:7} {result['peak_mb'][name]:8.1f} MB {result['seconds'][name]:6.2f} s")
    if args.json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
