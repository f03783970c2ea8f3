"""Pref-GRPO: the reward of an image is its share of wins against the other images of its prompt."""

from __future__ import annotations

import argparse

import torch
from drawing import sample

from reasoner_rm import Judge
from reasoner_rm.judge.adapters import as_pref_grpo


def train(judge: Judge, group: int = 4) -> dict[str, list[float]]:
    """Win rates by prompt."""
    reward = as_pref_grpo(judge)
    prompts = [p for p in ("a red circle", "a yellow circle") for _ in range(group)]
    wins, _ = reward(sample(prompts, 9), prompts, None)
    rates = torch.as_tensor(wins).reshape(-1, group)
    return dict(zip(prompts[::group], rates.tolist(), strict=True))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    args = parser.parse_args(argv)
    for prompt, wins in train(Judge.from_pretrained(args.model, max_tokens=96)).items():
        print(f"{prompt}: {[round(w, 2) for w in wins]}")


if __name__ == "__main__":
    main()
