"""Pre-trains the two tiny models that `reasoner-rm pocket --world digits` starts from.

    python scripts/pretrain_digits.py base       # printed digits only; no judging
    python scripts/pretrain_digits.py listener   # other seed, size and data (its own split of the scans)

Both are written to `reasoner_rm/models/assets/`, with the log and the held-out metrics of every skill. The base model
is trained without scans and without verdicts on pairs. The listener is trained to answer from the images and a given
reasoning, correct or wrong.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pretraining import Mixture, Phase, Row, ask, save, train

from data_recipes import digits
from reasoner_rm.models.families import FAMILIES
from reasoner_rm.models.loading import ASSETS, Vlm, load_vlm, prepare
from reasoner_rm.models.tiny import TinySize, build, build_processor, train_tokenizer
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template, render

ROLES = {
    "base": {"seed": 11, "size": TinySize(hidden=128, layers=3, vision_hidden=96)},
    "listener": {"seed": 23, "size": TinySize(hidden=128, layers=4, vision_hidden=64)},
}
TEXT_STEPS, STEPS, FITTING_STEPS = 700, 1200, 500
BATCH, RATE, POOL = 64, 2e-3, 3000


# --- pictures -------------------------------------------------------------------------------------------------


@functools.cache
def fonts() -> tuple[str, ...]:
    """The scalable text fonts of matplotlib."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return tuple(str(p) for p in sorted(folder.glob("DejaVu*.ttf")) if "Display" not in p.name)


def printed(digit: int, rng: random.Random) -> np.ndarray:
    """Ink 0..1 [n, n] of a printed digit, sheared, scaled and downsampled."""
    font = ImageFont.truetype(rng.choice(fonts()), 52)
    sheet = Image.new("L", (72, 72), 0)
    ImageDraw.Draw(sheet).text((36, 36), str(digit), fill=255, font=font, anchor="mm")
    shear, squeeze, grow = rng.uniform(-0.3, 0.3), rng.uniform(0.9, 1.4), rng.uniform(0.9, 1.2)
    matrix = (squeeze, shear, 36 - 36 * (squeeze + shear), 0, grow, 36 - 36 * grow)
    sheet = sheet.transform(sheet.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    side = rng.choice((8, 9, 10, 14, 20))
    box = sheet.getbbox() or (0, 0, 72, 72)
    half = max(box[2] - box[0], box[3] - box[1]) / 2 + 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    sheet = sheet.resize(
        (side, side),
        Image.Resampling.BOX,
        box=(max(0, x - half), max(0, y - half), min(72, x + half), min(72, y + half)),
    )
    return np.asarray(sheet, dtype=np.float32) / 255


def pool(role: str, seed: int, n: int = POOL) -> list[tuple[int, Image.Image]]:
    """Digit images: printed ones, and for the listener also its own split of the scans."""
    rng = random.Random(f"{role}/{seed}")
    scans = digits.scans("listener") if role == "listener" else ()
    drawn = []
    for i in range(n):
        if scans and i % 4:
            scan = rng.choice(scans)
            drawn.append((scan.digit, digits.draw(scan.ink, rng, dark=rng.random() < 0.2)))
        else:
            digit = i % 10
            drawn.append((digit, digits.draw(printed(digit, rng), rng, dark=rng.random() < 0.3)))
    return drawn


# --- skills ----------------------------------------------------

Pool = list[tuple[int, Image.Image]]


def describe(drawn: Pool, rng: random.Random) -> Row:
    chosen = rng.sample(drawn, rng.choice((1, 2, 2, 2)))
    seen = " ".join(f"Image {k} shows a {d}." for k, (d, _) in enumerate(chosen, start=1))
    return Row(ask(rng.choice(("Describe each image.", "What does each image show?")), [im for _, im in chosen]), seen)


THINGS = (*"0123456789", *digits.WORDS)


def statements(rng: random.Random, n: int) -> tuple[list[str], str]:
    """n different objects and a text that states which image shows which."""
    things = rng.sample(THINGS, n)
    return things, " ".join(f"Image {k} shows a {thing}." for k, thing in enumerate(things, start=1))


def repeat(drawn: Pool, rng: random.Random) -> Row:
    """Copy a text. Copying is part of look-up and is learnt earlier, because every token of the reply trains it."""
    text = statements(rng, rng.choice((2, 3, 4)))[1]
    return Row(ask(f"Repeat: {text}"), text)


def look_up(drawn: Pool, rng: random.Random) -> Row:
    """The image of every object, asked in another order: several look-ups per row."""
    things, text = statements(rng, rng.choice((2, 2, 3, 4)))
    asked = rng.sample(things, len(things))
    found = " ".join(f"a {thing}: Image {things.index(thing) + 1}." for thing in asked)
    return Row(ask(f"{text} Find {', '.join(asked)}."), found)


def fits(drawn: Pool, rng: random.Random) -> Row:
    """Whether a described digit matches the caption, from text only: the last step of a judge's reasoning."""
    asked = rng.randrange(10)
    shown = [asked if rng.random() < 0.4 else rng.randrange(10) for _ in range(rng.choice((1, 2, 2, 3)))]
    seen = " ".join(f"Image {k} shows a {d}." for k, d in enumerate(shown, start=1))
    caption = digits.caption(asked, "train", rng)
    return Row(ask(f"{seen}\nCaption: {caption}\nWhich image fits?"), digits.thought(asked, shown))


def wanted(drawn: Pool, rng: random.Random) -> Row:
    digit = rng.randrange(10)
    caption = rng.choice(
        digits.CAPTIONS + ("{digit}", "{word}", "a picture of the number {word}", "one {digit}, please")
    )
    caption = caption.format(digit=digit, word=digits.WORDS[digit])
    return Row(ask(f"Caption: {caption}\nWhat is asked for?"), f"The caption asks for a {digit}.")


def compare(drawn: Pool, rng: random.Random) -> Row:
    one, two = rng.randrange(10), rng.randrange(10)
    if rng.random() < 0.5:
        two = one if rng.random() < 0.5 else two
        return Row(ask(f"Is a {one} the same as a {two}?"), "Yes" if one == two else "No")
    return Row(ask(f"Is {one} greater than {two}?"), "Yes" if one > two else "No")


def judge_heard(drawn: Pool, rng: random.Random) -> Row:
    """The listener's skill: the verdict from the images and a reasoning that is wrong in one of three cases."""
    (one, first), (two, second) = rng.sample(drawn, 2)
    while one == two:
        (one, first), (two, second) = rng.sample(drawn, 2)
    which = rng.choice((1, 2))
    asked = (one, two)[which - 1]
    said = [one, two]
    if rng.random() < 0.35:
        k = rng.randrange(2)
        said[k] = rng.choice([d for d in range(10) if d != said[k]]) if rng.random() < 0.5 else asked
    if rng.random() < 0.1:
        said.reverse()
    sample = Sample("", "image_preference", digits.caption(asked, "train", rng), images=(first, second))
    prompt = render(sample, load_template("image_preference", "brief"))
    return Row(prompt, f"{digits.think(asked, said)}\n<answer>Image {which} is better</answer>")


TEXT: Mixture = {look_up: 6, repeat: 1, wanted: 2, compare: 1}
FITTING: dict[str, Mixture] = {
    "base": {fits: 5, describe: 4, wanted: 1, compare: 1},
    "listener": {fits: 2, describe: 3, judge_heard: 6},
}
SKILLS: dict[str, Mixture] = {
    "base": {describe: 6, look_up: 2, wanted: 1, compare: 1},
    "listener": {describe: 4, look_up: 1, wanted: 1, judge_heard: 5},
}


def corpus() -> Iterator[str]:
    """Texts whose words become single tokens of the tokenizer."""
    rng = random.Random(0)
    blank = Image.new("RGB", (56, 56))
    drawn = [(d, blank) for d in range(10)]
    for skill in (describe, repeat, look_up, wanted, compare, fits, judge_heard):
        for _ in range(60):
            row = skill(drawn, rng)
            yield "".join(c for c in row.prompt.content if isinstance(c, str))
            yield row.reply
    for task in ("image_preference", "pointwise", "qa"):
        yield from [load_template(task, "brief").text] * 20
    yield from ["system\nYou are a helpful assistant.\nuser\nassistant\n"] * 100
    yield from ["Which digit does the image show? Which image shows the greater digit?"] * 20


# --- training -----------------------------------------------------------------------------------------------


def start(role: str, folder: Path | None) -> tuple[Vlm, list[dict[str, Any]]]:
    """A new model from its seed, or a partly trained one with its log."""
    if folder is not None:
        return load_vlm(folder, dtype="float32"), json.loads((folder / "pretraining.json").read_text())["log"]
    seed, size = ROLES[role]["seed"], ROLES[role]["size"]
    tokenizer = train_tokenizer(corpus())
    model = build(size, tokenizer, seed)
    return prepare(model, build_processor(size, tokenizer), FAMILIES[size.family], role), []


def pretrain(role: str, out: Path, begun: Path | None = None) -> None:
    """Train one of the two models in three phases (text, all skills, matching) and write it with its log.

    Args:
        begun: a model that has completed the first two phases; only the third is run.
    """
    seed = ROLES[role]["seed"]
    torch.manual_seed(seed)
    vlm, log = start(role, begun)
    phases = [Phase("fitting", FITTING[role], FITTING_STEPS, BATCH, RATE / 2)]
    if begun is None:
        words = Phase("text", TEXT, TEXT_STEPS, 2 * BATCH, RATE)
        phases = [words, Phase("all", SKILLS[role], STEPS, BATCH, RATE), *phases]
    log += train(vlm, phases, pool(role, seed), pool(role, seed + 1, 600), seed)
    save(vlm, out, {"role": role, "seed": seed, "batch": BATCH, "lr": RATE, "log": log})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument(
        "--from", dest="begun", type=Path, help="continue from a model that has completed the second phase"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    pretrain(args.role, args.out or ASSETS / f"digits-{args.role}", args.begun)
