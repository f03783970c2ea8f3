"""The update of a group on a small Qwen3.5: packed, against the model's repeated form (a row per completion).

    python benchmarks/linear_layers.py --json benchmarks/results/linear_layers.json

Forward and backward pass of both alternate in one process; seconds are medians. `operations` is the ratio of
floating-point operations that torch counts; the triangular systems of the delta rule are not among them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from grpo_step import HERE, Shape, prompts_of, random_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from reasoner_rm.models.group_logprobs import repeated_logprobs, shared_prefix_logprobs
from reasoner_rm.models.prompt_encoder import PromptEncoder

FORMS = {"packed": shared_prefix_logprobs, "repeated": repeated_logprobs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--completion-tokens", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    shape = Shape(1, given.group_size, given.prompt_tokens, given.completion_tokens, side=256)
    vlm = random_model(HERE / "models" / "qwen3_5.yaml", given.vocabulary, "cpu")
    encoder = PromptEncoder(vlm)
    prompts = encoder.batch([encoder.encode(prompt) for prompt in prompts_of(vlm, shape)])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (given.group_size, given.completion_tokens), generator=draw)
    weights = list(vlm.model.parameters())

    def update(form: str) -> tuple[Tensor, Tensor]:
        logprobs = FORMS[form](vlm, prompts, [ids.tolist()]).logprobs
        grads = torch.autograd.grad(logprobs.mean(), weights, materialize_grads=True)
        return logprobs.detach(), torch.cat([grad.flatten() for grad in grads])

    operations, results = dict[str, int](), dict[str, tuple[Tensor, Tensor]]()
    for form in FORMS:  # a warm-up, too
        with FlopCounterMode(display=False) as counter:
            results[form] = update(form)
        operations[form] = counter.get_total_flops()
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(given.rounds):
        for form in FORMS:
            began = time.perf_counter()
            update(form)
            seconds[form].append(time.perf_counter() - began)
    median = {form: statistics.median(values) for form, values in seconds.items()}
    (mine, my_grad), (theirs, their_grad) = results["packed"], results["repeated"]
    report = {
        "prompt_tokens": prompts.lengths[0],
        "group_size": given.group_size,
        "completion_tokens": given.completion_tokens,
        "vocabulary": given.vocabulary,
        "rounds": given.rounds,
        "seconds": {form: round(value, 3) for form, value in median.items()},
        "speed_up": round(median["repeated"] / median["packed"], 2),
        "operations": round(operations["repeated"] / operations["packed"], 2),
        "logprob_difference": float((mine - theirs).abs().max()),
        "gradient_difference": float((my_grad - their_grad).norm() / their_grad.norm()),
    }
    print(json.dumps(report, indent=2))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
