"""Prompts by number: text, and images of noise."""

from __future__ import annotations

import numpy as np
from PIL import Image

from reasoner_rm.tasks.render import Prompt


def prompt_of(seed: int) -> Prompt:
    """Text, with none to three images of noise."""
    rng = np.random.default_rng(seed)
    words = ("Image", "is", "better", "a", "red", "square", "beside", "caption", "which", "reason", "in", "think")
    parts: list[str | Image.Image] = []
    for _ in range(seed % 4):
        shape = tuple(rng.integers(30, 140, 2))
        parts += ["Image: ", Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))]
    parts.append(" ".join(rng.choice(words, rng.integers(1, 40))))
    return Prompt(tuple(parts), tuple(not isinstance(p, str) for p in parts))
