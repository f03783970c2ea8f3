"""A small world of real images: the handwritten digits that scikit-learn carries (1,797 scans of 8x8 grey values).

The scans are NIST forms written by 43 people (E. Alpaydin and C. Kaynak, UCI "Optical Recognition of Handwritten
Digits"). They serve three tasks: which of two scans fits a caption, how well one scan fits it, and questions
about a scan. No scan is in two splits; `ood` has unseen phrasings and another look (light ink on dark paper,
tilted).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from reasoner_rm.data.io import write_samples
from reasoner_rm.schema import Sample
from reasoner_rm.utils.files import atomic_path
from reasoner_rm.utils.locks import folder_lock

Split = Literal["listener", "train", "heldout", "ood"]
SHARES: dict[Split, int] = {"listener": 500, "train": 800, "heldout": 300, "ood": 197}
SPLIT_SEED = 1797
SIDE = 56
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CAPTIONS = (
    "a handwritten {digit}",
    "the digit {digit}",
    "a scan of the digit {digit}",
    "the number {word}, written by hand",
    "a handwritten {word}",
)
OOD_CAPTIONS = ("a scan of a handwritten {word}", "the handwritten number {digit}")
QUESTIONS = ("Which digit does the image show?", "Which image shows the greater digit?")
OOD_QUESTIONS = ("What digit is written here?", "In which image is the digit larger?")


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its row in scikit-learn's set, what it shows, its ink 0..1 [8, 8]."""

    index: int
    digit: int
    ink: np.ndarray


@functools.lru_cache(maxsize=1)
def all_scans() -> tuple[Scan, ...]:
    """All 1,797 scans in file order."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return tuple(Scan(i, int(d), ink / 16) for i, (d, ink) in enumerate(zip(bunch.target, bunch.images, strict=True)))


def scans(split: Split) -> tuple[Scan, ...]:
    """The scans of one split; every scan belongs to exactly one, whatever the seed of a run."""
    order = random.Random(SPLIT_SEED).sample(range(len(all_scans())), len(all_scans()))
    names = list(SHARES)
    start = sum(SHARES[n] for n in names[: names.index(split)])
    return tuple(all_scans()[i] for i in order[start : start + SHARES[split]])


def draw(ink: np.ndarray, rng: random.Random, *, dark: bool = False, side: int = SIDE) -> Image.Image:
    """Ink values 0..1 [h, w] as a drawing of ``side`` pixels, with random size, position and tint.

    Args:
        dark: light ink on dark paper, tilted more: the look of the ood split.
    """
    size = round(side * rng.uniform(0.8, 1.0))
    plane = Image.fromarray((ink * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (side, side), 0)
    sheet.paste(plane, (rng.randint(0, side - size), rng.randint(0, side - size)))
    tilt = rng.choice((-1, 1)) * rng.uniform(6, 12) if dark else rng.uniform(-5, 5)
    mask = np.asarray(sheet.rotate(tilt, Image.Resampling.BICUBIC), dtype=np.float32)[..., None] / 255
    light = np.array([rng.uniform(215, 255) for _ in range(3)], dtype=np.float32)
    deep = np.array([rng.uniform(0, 90) for _ in range(3)], dtype=np.float32)
    paper, pen = (deep, light) if dark else (light, deep)
    return Image.fromarray((paper * (1 - mask) + pen * mask).clip(0, 255).astype(np.uint8))


def thought(asked: int, shown: Sequence[int]) -> str:
    """The reasoning that the cold start teaches: what is asked for, what each image shows, whether that fits."""
    seen = " ".join(f"Image {i} shows a {d}: {'yes' if d == asked else 'no'}." for i, d in enumerate(shown, start=1))
    return f"The caption asks for a {asked}. {seen}"


def think(asked: int, shown: Sequence[int]) -> str:
    """The same as the `<think>` block of a target."""
    return f"<think>{thought(asked, shown)}</think>"


def caption(digit: int, split: Split, rng: random.Random) -> str:
    """A caption for a digit, in the split's phrasings."""
    return rng.choice(OOD_CAPTIONS if split == "ood" else CAPTIONS).format(digit=digit, word=WORDS[digit])


def preferences(n: int, split: Split, seed: int, pool: Sequence[Scan], images: Gallery) -> Iterator[Sample]:
    """Pairs of scans for a caption that one of them fits; the order is drawn by seed and kept in ``meta.order``."""
    for i in range(n):
        rng = random.Random(f"preference/{split}/{seed}/{i}")
        right = rng.choice(pool)
        wrong = rng.choice([s for s in pool if s.digit != right.digit])
        order = rng.choice(([0, 1], [1, 0]))
        shown = [(right, wrong)[k] for k in order]
        first = order[0] == 0
        verdict = f"<answer>Image {1 if first else 2} is better</answer>"
        yield Sample(
            id=f"digits-{split}-{seed}-{i}",
            task="image_preference",
            prompt=caption(right.digit, split, rng),
            images=tuple(images.path(s, rng) for s in shown),
            target=f"{think(right.digit, [s.digit for s in shown])}\n{verdict}",
            gold={"p_first": 1.0 if first else 0.0},
            group_id=f"scan-{right.index}",
            source="digits",
            meta={"order": order, "digits": [s.digit for s in shown], "asked": right.digit},
        )


def scores(n: int, split: Split, seed: int, pool: Sequence[Scan], images: Gallery) -> Iterator[Sample]:
    """One scan and a caption that it fits (5) or does not (1)."""
    for i in range(n):
        rng = random.Random(f"pointwise/{split}/{seed}/{i}")
        scan = rng.choice(pool)
        asked = scan.digit if rng.random() < 0.5 else rng.choice([d for d in range(10) if d != scan.digit])
        score = 5 if asked == scan.digit else 1
        yield Sample(
            id=f"digits-pointwise-{split}-{seed}-{i}",
            task="pointwise",
            prompt=caption(asked, split, rng),
            images=(images.path(scan, rng),),
            target=f"{think(asked, [scan.digit])}\n<answer>{score}</answer>",
            gold={"score": score},
            group_id=f"scan-{scan.index}",
            source="digits",
            meta={"scale": [1, 5], "digits": [scan.digit], "asked": asked},
        )


def questions(n: int, split: Split, seed: int, pool: Sequence[Scan], images: Gallery) -> Iterator[Sample]:
    """Which digit a scan shows, or which of two scans shows the greater one."""
    which, greater = OOD_QUESTIONS if split == "ood" else QUESTIONS
    for i in range(n):
        rng = random.Random(f"qa/{split}/{seed}/{i}")
        one, two = rng.choice(pool), rng.choice(pool)
        if rng.random() < 0.5 or one.digit == two.digit:
            prompt, shown, answer = which, [one], str(one.digit)
            gold, choices = {"answer": answer, "kind": "number"}, None
        else:
            prompt, shown = greater, [one, two]
            answer, choices = ("1" if one.digit > two.digit else "2"), ["1", "2"]
            gold = {"answer": answer, "kind": "choice"}
        seen = " ".join(f"Image {k} shows a {s.digit}." for k, s in enumerate(shown, start=1))
        yield Sample(
            id=f"digits-qa-{split}-{seed}-{i}",
            task="qa",
            prompt=prompt,
            images=tuple(images.path(s, rng) for s in shown),
            target=f"<think>{seen}</think>\n<answer>{answer}</answer>",
            gold=gold,
            group_id=f"scan-{one.index}",
            source="digits",
            meta={"digits": [s.digit for s in shown]} | ({"choices": choices} if choices else {}),
        )


MAKERS = {"image_preference": preferences, "pointwise": scores, "qa": questions}


class Gallery:
    """The drawn scans of one split, a PNG each, drawn on first use; the same seed gives the same bytes.

    Args:
        drawings: the number of drawings of a scan (position, size, tilt and colours differ).
    """

    def __init__(self, folder: Path, split: Split, seed: int, drawings: int = 1):
        self.folder, self.split, self.seed, self.drawings = folder, split, seed, drawings

    def path(self, scan: Scan, rng: random.Random) -> str:
        """The PNG of one drawing of a scan, chosen by ``rng``."""
        number = rng.randrange(self.drawings)
        file = self.folder / f"scan-{scan.index:04d}-{number}.png"
        if not file.exists():
            rng = random.Random(f"draw/{self.split}/{self.seed}/{scan.index}/{number}")
            with atomic_path(file, durable=False) as beside:
                draw(scan.ink, rng, dark=self.split == "ood").save(beside, "PNG")
        return str(file)


def build(
    out: Path,
    split: Split,
    task: str,
    n: int,
    seed: int,
    *,
    name: str | None = None,
    limit: int | None = None,
    drawings: int = 1,
) -> Path:
    """Write ``n`` samples of one task and split as JSONL beside their images.

    Args:
        limit: draw from the split's first ``limit`` scans only.
        drawings: how many different drawings of one scan there may be.
    """
    gallery = Gallery(out / "images" / f"{split}-{seed}", split, seed, drawings)
    file = out / f"{name or f'{split}-{task}'}.jsonl"
    with folder_lock(out):
        write_samples(file, MAKERS[task](n, split, seed, scans(split)[:limit], gallery))
    return file
