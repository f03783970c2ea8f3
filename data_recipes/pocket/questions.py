"""Questions about one image: with a short answer, with two candidate answers, and with solution steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from data_recipes.pocket.claims import NUMBERS, noun, plural, related
from data_recipes.pocket.claims import RELATIONS as AXES
from data_recipes.pocket.corruptions import other
from data_recipes.pocket.drafts import Draft, Setting, VotedPair, target_text
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, Level, Scene, Thing, compose

PLACES = {2: (("top", "bottom"), ("left", "right")), 3: (("top", "middle", "bottom"), ("left", "centre", "right"))}
YES_NO = ("yes", "no")
RELATIONS = (*AXES[0], *AXES[1])


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer. ``choices`` is empty for numbers; ``sentence`` states any answer to it."""

    text: str
    answer: str
    reasoning: str
    sentence: str
    choices: tuple[str, ...] = ()

    def wrong(self, rng: random.Random) -> str:
        """Another answer of the same kind."""
        if self.choices:
            return other(rng, self.choices, self.answer)
        right = int(self.answer)
        return str(rng.choice([n for n in (right - 1, right + 1) if 0 <= n <= 5]))

    def say(self, answer: str) -> str:
        """An answer as a sentence."""
        text = self.sentence.format(NUMBERS[int(answer)] if answer.isdigit() else answer)
        return text[0].upper() + text[1:]


Asker = Callable[[random.Random, Scene, bool, bool], Question | None]
"""Makes a question about a scene. The flags: `ood` phrasing; answer yes, for a yes-no question. None: the scene does
not allow the question."""


def place(thing: Thing, grid: int) -> str:
    """The position of a thing.

    >>> place(Thing("star", "red", "large", 1, 0), 2)
    'top right'
    """
    rows, columns = PLACES[grid]
    return f"{rows[thing.row]} {columns[thing.column]}"


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "star"), counted(0, "red shape")
    ('one star', 'zero red shapes')
    """
    return f"{NUMBERS[number]} {plural(what, number)}"


def there_are(number: int, what: str) -> str:
    return f"There {'is' if number == 1 else 'are'} {counted(number, what)}."


def colour_of(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    thing = rng.choice(scene.things)
    if sum(t.shape == thing.shape for t in scene.things) > 1:
        return None
    text = f"Name the colour of the {thing.shape}." if ood else f"What colour is the {thing.shape}?"
    return Question(text, thing.colour, f"The {thing.shape} is {thing.colour}.", f"the {thing.shape} is {{}}.", COLOURS)


def shape_of(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    thing = rng.choice(scene.things)
    if sum(t.colour == thing.colour for t in scene.things) > 1:
        return None
    text = f"Name the shape that is {thing.colour}." if ood else f"Which shape is {thing.colour}?"
    return Question(text, thing.shape, f"The {thing.shape} is {thing.colour}.", f"the {{}} is {thing.colour}.", SHAPES)


def count(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    what, number = _category(rng, scene)
    text = f"Count the {plural(what, 2)}." if ood else f"How many {plural(what, 2)} are there?"
    return Question(text, str(number), there_are(number, what), f"the count of {plural(what, 2)} is {{}}.")


def relation(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    if len(scene.things) < 2:
        return None
    a, b = rng.sample(scene.things, 2)
    word = rng.choice(RELATIONS)
    axis = word in AXES[1]
    first, second = ((t.column, t.row)[axis] for t in (a, b))
    if first == second or related(a, word, b) != yes:
        return None
    one, two = noun(a, False), noun(b, False)
    text = f"Does the {one} stand {word} the {two}?" if ood else f"Is the {one} {word} the {two}?"
    seen = f"The {one} is {AXES[axis][first > second]} the {two}."
    return Question(text, YES_NO[not yes], seen, "{}.", YES_NO)


def neighbour(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    """Two steps: find the thing next to another, then name its colour."""
    if len(scene.things) < 2:
        return None
    anchor, word = rng.choice(scene.things), rng.choice(RELATIONS)
    found = [t for t in scene.things if t is not anchor and related(t, word, anchor)]
    if len(found) != 1:
        return None
    it, base = found[0], noun(anchor, False)
    text = f"Which colour has the shape {word} the {base}?" if ood else f"What colour is the shape {word} the {base}?"
    seen = (
        f"The {base} is at the {place(anchor, scene.grid)}. {word.capitalize()} it is a {it.shape}. It is {it.colour}."
    )
    return Question(text, it.colour, seen, "it is {}.", COLOURS)


def compare(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    """Two steps: count two kinds, then compare."""
    (one, m), (two, n) = _category(rng, scene), _category(rng, scene)
    if one == two or one.endswith("shape") != two.endswith("shape") or (m > n) != yes:
        return None
    a, b = plural(one, 2), plural(two, 2)
    text = f"Do the {a} outnumber the {b}?" if ood else f"Are there more {a} than {b}?"
    seen = f"There are {counted(m, one)} and {counted(n, two)}. {NUMBERS[m].capitalize()} is "
    seen += f"{'more' if yes else 'not more'} than {NUMBERS[n]}."
    return Question(text, YES_NO[not yes], seen, "{}.", YES_NO)


def together(rng: random.Random, scene: Scene, ood: bool, yes: bool) -> Question | None:
    """Two steps: count two kinds, then add."""
    (one, m), (two, n) = _category(rng, scene), _category(rng, scene)
    if one == two or one.endswith("shape") != two.endswith("shape"):
        return None
    total = f"{plural(one, 2)} and {plural(two, 2)}"
    text = f"Add up the {total}: how many?" if ood else f"How many {total} are there together?"
    seen = f"There are {counted(m, one)} and {counted(n, two)}. "
    seen += f"{NUMBERS[m].capitalize()} plus {NUMBERS[n]} is {NUMBERS[m + n]}."
    return Question(text, str(m + n), seen, "together there are {}.")


def _category(rng: random.Random, scene: Scene) -> tuple[str, int]:
    """A shape, or shapes of a colour, rarely an absent one, and its count."""
    by_shape = rng.random() < 0.5
    known = [t.shape if by_shape else t.colour for t in scene.things]
    word = rng.choice(known) if rng.random() < 0.85 else rng.choice(SHAPES if by_shape else COLOURS)
    return (word if by_shape else f"{word} shape"), known.count(word)


SIMPLE: dict[str, Asker] = {"colour": colour_of, "shape": shape_of, "count": count, "relation": relation}
TWO_STEP: dict[str, Asker] = {"neighbour": neighbour, "compare": compare, "together": together}


def ask(rng: random.Random, setting: Setting) -> tuple[Scene, Level, str, Question]:
    """A scene with a question about it: the two-step ones from level 2, and more of them on level 3."""
    level = rng.choice(setting.levels)
    two_step = rng.random() < {1: 0.0, 2: 0.4, 3: 0.7}[level]
    skill = rng.choice(list(TWO_STEP if two_step else SIMPLE))
    asker = (TWO_STEP if two_step else SIMPLE)[skill]
    low, high = LEVELS[level].things
    low, yes = max(low, 2 if skill != "colour" else 1), rng.random() < 0.5
    while True:
        scene = compose(rng, setting.split, level, things=(low, high))
        if question := asker(rng, scene, setting.ood, yes):
            return scene, level, skill, question


def answers(rng: random.Random, setting: Setting) -> Draft:
    """One question, one answer that can be checked."""
    scene, level, skill, question = ask(rng, setting)
    return Draft(
        prompt=question.text,
        root=scene,
        target=target_text(question.reasoning, question.answer),
        gold={"answer": question.answer, "kind": "choice" if question.choices else "number"},
        level=level,
        pictures=(Picture(scene, setting.look(rng, level)),),
        meta={"skill": skill} | ({"choices": list(question.choices)} if question.choices else {}),
    )


def responses(rng: random.Random, setting: Setting) -> Draft:
    """One question and two answers to it, of which one is right."""
    scene, level, skill, question = ask(rng, setting)
    pair, wrong = VotedPair.draw(rng, setting, level, "Answer"), question.wrong(rng)
    right, false = (NUMBERS[int(a)] if a.isdigit() else a for a in (question.answer, wrong))
    return Draft(
        prompt=question.text,
        root=scene,
        target=pair.target(question.reasoning, right, false),
        gold=pair.gold,
        level=level,
        pictures=(Picture(scene, setting.look(rng, level)),),
        responses=pair.shown(question.say(question.answer), question.say(wrong)),
        meta=pair.meta | {"skill": skill},
    )


def steps(rng: random.Random, setting: Setting) -> Draft:
    """A sum worked out in three steps, at most one of them wrong.

    A step about the image is right if the image shows it. The sum is judged by the numbers of the steps before it.
    """
    level = rng.choice(setting.levels)
    while True:
        scene = compose(rng, setting.split, level, things=(2, LEVELS[level].things[1]))
        (one, m), (two, n) = _category(rng, scene), _category(rng, scene)
        if one != two and one.endswith("shape") == two.endswith("shape"):
            break
    error = rng.choice((None, 0, 1, 2))
    said = [m, n]
    if error in (0, 1):
        said[error] = _off(rng, said[error])
    total = _off(rng, sum(said)) if error == 2 else sum(said)
    add = f"{NUMBERS[said[0]]} plus {NUMBERS[said[1]]} is"
    right = [i != error for i in range(3)]
    seen = (f"the image shows {NUMBERS[m]}", f"the image shows {NUMBERS[n]}", f"it is {NUMBERS[sum(said)]}")
    claims = (counted(said[0], one), counted(said[1], two), f"{add} {NUMBERS[total]}")
    thought = " ".join(
        f"Step {i} says {claim}, {truth}: {'yes' if ok else 'no'}."
        for i, (claim, truth, ok) in enumerate(zip(claims, seen, right, strict=True), start=1)
    )
    what = f"{plural(one, 2)} and {plural(two, 2)}"
    return Draft(
        prompt=f"Add up the {what}: how many?" if setting.ood else f"How many {what} are there together?",
        root=scene,
        target=target_text(thought, "[" + ",".join(str(int(ok)) for ok in right) + "]"),
        gold={"steps": [int(ok) for ok in right]},
        level=level,
        pictures=(Picture(scene, setting.look(rng, level)),),
        responses=(there_are(said[0], one), there_are(said[1], two), f"{add.capitalize()} {NUMBERS[total]}."),
        meta={"corruption": "none" if error is None else ("arithmetic" if error == 2 else "count")},
    )


def _off(rng: random.Random, number: int) -> int:
    """One more or one fewer."""
    return rng.choice([n for n in (number - 1, number + 1) if 0 <= n <= 5])
