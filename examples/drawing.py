"""Drawn shapes in place of an image generator."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image, ImageDraw

COLOURS = {"red": (214, 40, 40), "green": (45, 160, 70), "blue": (40, 90, 210), "yellow": (245, 205, 45)}


def draw(colour: str, seed: int, side: int = 112) -> Image.Image:
    """A circle of a colour at a random position."""
    rng = random.Random(seed)
    image = Image.new("RGB", (side, side), (244, 242, 238))
    size = rng.randint(side // 3, side // 2)
    x, y = rng.randint(4, side - size - 4), rng.randint(4, side - size - 4)
    ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=COLOURS[colour])
    return image


def sample(prompts: list[str], seed: int = 0) -> torch.Tensor:
    """One image per prompt, as a diffusion pipeline returns them: floats [N, 3, H, W] in 0..1. Some are wrong."""
    rng = random.Random(seed)
    images = []
    for i, prompt in enumerate(prompts):
        prompted = next((c for c in COLOURS if c in prompt), "red")
        colour = prompted if rng.random() < 0.6 else rng.choice(sorted(COLOURS))
        images.append(np.asarray(draw(colour, seed * 1000 + i)))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
