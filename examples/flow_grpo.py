"""Flow-GRPO and DDPO: rewards are computed in a thread while the next images are sampled; advantages are per prompt."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from drawing import sample

from reasoner_rm import Judge
from reasoner_rm.judge.adapters import as_flow_grpo, as_multi_score


def brightness(images: torch.Tensor, prompts: Any, metadata: Any) -> tuple[list[float], dict[str, Any]]:
    """Another reward with the same signature."""
    return images.mean((1, 2, 3)).tolist(), {}


def train(judge: Judge, steps: int = 2, group: int = 4) -> list[np.ndarray]:
    """The advantages [prompts x group] of each step."""
    reward = as_multi_score({"judge": (as_flow_grpo(judge, "win_rate"), 1.0), "brightness": (brightness, 0.1)})
    prompts = [p for p in ("a red circle", "a blue circle") for _ in range(group)]
    advantages = []
    with ThreadPoolExecutor(max_workers=8) as executor:
        pending = [
            executor.submit(reward, sample(prompts, step), prompts, [{}] * len(prompts), only_strict=True)
            for step in range(steps)
        ]
        for waited in pending:
            scores, _ = waited.result()
            total = np.asarray(torch.as_tensor(scores["avg"], dtype=torch.float32)).reshape(-1, group)
            advantages.append((total - total.mean(1, keepdims=True)) / (total.std(1, keepdims=True) + 1e-4))
    return advantages


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    args = parser.parse_args(argv)
    for step, advantages in enumerate(train(Judge.from_pretrained(args.model, max_tokens=96))):
        print(f"step {step}: advantages\n{advantages.round(2)}")


if __name__ == "__main__":
    main()
