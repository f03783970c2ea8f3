"""ReNO, DRaFT, AlignProp: the gradient of the reward optimises the generator's latents. Here these are a small latent
image that a fixed decoder upsamples. The model is a base model (builtin:pocket-base works): a judge that was trained to
reason is refused, because sampled tokens have no gradient.
"""

from __future__ import annotations

import argparse

import torch

from reasoner_rm import Judge
from reasoner_rm.judge.adapters import as_differentiable


def optimise(judge: Judge, steps: int = 5, rate: float = 0.3) -> list[float]:
    """P(yes) before each step."""
    reward = as_differentiable(judge)
    torch.manual_seed(0)
    latent = (0.1 * torch.randn(1, 3, 14, 14)).requires_grad_()
    optimiser = torch.optim.Adam([latent], lr=rate)
    probs = []
    for _ in range(steps):
        image = torch.nn.functional.interpolate(latent, scale_factor=4, mode="bilinear").sigmoid()
        p = reward(image, ["a red circle"])
        loss = -p.clamp(min=1e-6).log().sum() + 0.01 * latent.pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([latent], 0.1)
        optimiser.step()
        probs.append(float(p.detach()))
    return probs


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a base model")
    args = parser.parse_args(argv)
    judge = Judge.from_pretrained(args.model, "transformers")
    print("P(yes):", [round(p, 4) for p in optimise(judge)])


if __name__ == "__main__":
    main()
