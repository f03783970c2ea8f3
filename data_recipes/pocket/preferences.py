"""Which of two images fits a caption, and how many of a caption's facts one image shows."""

from __future__ import annotations

import random

from data_recipes.pocket.claims import NUMBERS, Presence, against, caption, noun
from data_recipes.pocket.corruptions import contrast, recast
from data_recipes.pocket.drafts import Draft, Setting, VotedPair, target_text
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import LEVELS, compose, split_of


def images(rng: random.Random, setting: Setting) -> Draft:
    """A caption with an image that fits and one with a named corruption."""
    level, kind = rng.choice(setting.levels), rng.choice(setting.corruptions)
    right, claim, wrong, shown = contrast(rng, setting.split, level, kind)
    pair = VotedPair.draw(rng, setting, level, "Image")
    drawn, other = (Picture(scene, setting.look(rng, level, anywhere=True)) for scene in (right, wrong))
    return Draft(
        prompt=caption(claim, rng, ood=setting.ood),
        root=right,
        target=pair.target(f"The caption asks for {claim}.", str(claim), against(str(shown), str(claim))),
        gold=pair.gold,
        level=level,
        pictures=pair.shown(drawn, other),
        meta=pair.meta | {"corruption": kind, "asked": str(claim)},
    )


def scores(rng: random.Random, setting: Setting) -> Draft:
    """A caption that names two to four things, and an image that shows some of them: 1 for none to 5 for all."""
    level = rng.choice(setting.levels)
    sized, n = LEVELS[level].sized, level + 1
    wrong = set(rng.sample(range(n), rng.randint(0, n)))
    while True:
        asked = shown = compose(rng, setting.split, level, things=(n, n))
        for index in wrong:
            shown = recast(shown, index, rng.choice(("attribute", "object")), rng, sized=sized)
        facts = [noun(t, sized) for t in asked.things]
        fits = [Presence((fact,)).holds(shown) for fact in facts]
        if shown.tells_apart and split_of(shown) == setting.split and fits == [i not in wrong for i in range(n)]:
            break
    score = 1 + round(4 * sum(fits) / n)
    seen = [noun(t, sized) for t in shown.things]
    said = " ".join(
        f"{fact.a.capitalize()}: shows {s.a}, {'yes' if fit else 'no'}."
        for fact, s, fit in zip(facts, seen, fits, strict=True)
    )
    return Draft(
        prompt=caption(Presence(tuple(facts)), rng, ood=setting.ood),
        root=asked,
        target=target_text(f"{said} {NUMBERS[sum(fits)].capitalize()} of {NUMBERS[n]} fit.", str(score)),
        gold={"score": score},
        level=level,
        pictures=(Picture(shown, setting.look(rng, level, anywhere=True)),),
        meta={"scale": [1, 5], "facts": [str(f) for f in facts], "fits": fits},
    )
