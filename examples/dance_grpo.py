"""DanceGRPO: one scalar per image; a failed reward is -1; advantages within the group."""

from __future__ import annotations

import argparse

import torch
from drawing import sample

from reasoner_rm import Judge
from reasoner_rm.judge.adapters import as_dancegrpo


def train(judge: Judge, group: int = 4) -> torch.Tensor:
    """The advantages [group] of one prompt's images."""
    reward = as_dancegrpo(judge, "win_rate")
    prompts = ["a green circle"] * group
    rewards = torch.tensor(reward(sample(prompts, 5), prompts))
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    args = parser.parse_args(argv)
    print(train(Judge.from_pretrained(args.model, max_tokens=96)))


if __name__ == "__main__":
    main()
