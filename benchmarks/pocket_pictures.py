"""A pocket judge on pictures as people draw them: one plain shape in the middle of white paper.

    python benchmarks/pocket_pictures.py runs/pocket-shapes-preference-1 --json FILE

They are drawn with PIL, in pure colours, without the pocket world's code. A pair has the caption's shape, and one that
differs in colour or in form; each pair is judged in both orders. Pairs of colour and shape that no training scene shows
are counted apart.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from data_recipes.pocket.scenes import HELD_BACK
from reasoner_rm import Judge

COLOURS = {
    "red": (220, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 0),
    "green": (20, 150, 40),
    "blue": (30, 70, 220),
    "purple": (130, 40, 170),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")


def picture(colour: str, shape: str, side: int = 224, size: float = 0.25) -> Image.Image:
    """One shape in the middle; ``size`` is its radius in sides."""
    image = Image.new("RGB", (4 * side, 4 * side), "white")
    pen, middle, r = ImageDraw.Draw(image), 2 * side, 4 * side * size
    fill = COLOURS[colour]
    match shape:
        case "circle":
            pen.ellipse((middle - r, middle - r, middle + r, middle + r), fill)
        case "square":
            pen.rectangle((middle - r, middle - r, middle + r, middle + r), fill)
        case "cross":
            pen.rectangle((middle - r, middle - r / 3, middle + r, middle + r / 3), fill)
            pen.rectangle((middle - r / 3, middle - r, middle + r / 3, middle + r), fill)
        case _:
            points = 3 if shape == "triangle" else 10
            reach = [r if shape == "triangle" or i % 2 == 0 else 0.45 * r for i in range(points)]
            angles = [2 * math.pi * i / points - math.pi / 2 for i in range(points)]
            pen.polygon(
                [(middle + d * math.cos(a), middle + d * math.sin(a)) for d, a in zip(reach, angles, strict=True)], fill
            )
    return image.resize((side, side), Image.Resampling.LANCZOS)


def pairs(n: int, seed: int = 0) -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
    """The caption, what fits it, and what does not."""
    rng = random.Random(seed)
    made = []
    for i in range(n):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        wrong = (
            (rng.choice([c for c in COLOURS if c != colour]), shape)
            if i % 2
            else (colour, rng.choice([s for s in SHAPES if s != shape]))
        )
        article = "an" if colour[0] in "aeiou" else "a"
        made.append((f"{article} {colour} {shape}", (colour, shape), wrong))
    return made


def measure(judge: Judge, n: int, size: float) -> dict[str, Any]:
    """How many pairs are judged right, wrong, or differently in the two orders."""
    asked = pairs(n)
    verdicts = judge.compare_batch(
        [caption for caption, _, _ in asked],
        [picture(*right, size=size) for _, right, _ in asked],
        [picture(*wrong, size=size) for _, _, wrong in asked],
    )
    names = {0: "right", 1: "wrong", None: "undecided"}
    counts: dict[str, Counter[str]] = {"shown in training": Counter(), "held back": Counter()}
    for (_, right, wrong), verdict in zip(asked, verdicts, strict=True):
        kind = "held back" if HELD_BACK & {right, wrong} else "shown in training"
        counts[kind][names[verdict.preferred]] += 1
    return {kind: dict(found) for kind, found in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judges", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.15, 0.2, 0.25])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = []
    for folder in args.judges:
        judge = Judge.from_pretrained(folder)
        for size in args.sizes:
            found.append({"judge": folder.name, "size": size, **measure(judge, args.n, size)})
            print(json.dumps(found[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"n": args.n, "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
