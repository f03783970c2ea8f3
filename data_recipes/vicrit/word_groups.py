"""Exchangeable words: groups of words of one kind, none of them a synonym or a special case of another.

Within a row of alternatives any two exclude each other. A word with two common meanings is left out: wrong grammar
or a change that changes nothing would teach the critic noise.
"""

from __future__ import annotations

from collections.abc import Mapping

COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "brown", "pink", "grey")
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MATERIALS = ("wooden", "metal", "plastic", "glass", "leather", "concrete", "ceramic", "paper")
SHAPES = ("round", "square", "triangular", "rectangular", "oval", "hexagonal")
OBJECTS: tuple[tuple[str, ...], ...] = (
    ("dog", "cat", "horse", "cow", "sheep", "elephant", "rabbit", "goat"),
    ("car", "bus", "bicycle", "motorcycle", "train", "airplane", "tractor"),
    ("apple", "banana", "pear", "lemon", "melon", "strawberry"),
    ("chair", "table", "sofa", "bed", "lamp", "bookshelf"),
    ("guitar", "piano", "violin", "drum", "trumpet", "flute"),
    ("hat", "scarf", "glove", "umbrella", "backpack"),
    ("fork", "spoon", "bottle", "plate", "kettle"),
)
RELATIONS: tuple[tuple[str, ...], ...] = (
    ("on the left of", "on the right of"),
    ("to the left of", "to the right of"),
    ("in front of", "behind"),
    ("above", "below"),
    ("on top of", "underneath"),
    ("on the left side", "on the right side"),
    ("in the foreground", "in the background"),
)
CONDITIONS: tuple[tuple[str, ...], ...] = (
    ("open", "closed"), ("empty", "full"), ("wet", "dry"), ("clean", "dirty"), ("sunny", "rainy", "snowy"),
    ("broken", "intact"), ("standing", "sitting", "lying"), ("smiling", "frowning"), ("lit", "unlit"),
    ("ripe", "rotten"), ("folded", "unfolded"),
)  # fmt: skip

IRREGULAR = {"sheep": "sheep", "strawberry": "strawberries", "bookshelf": "bookshelves", "glove": "gloves"}
ALIKE: tuple[frozenset[str], ...] = tuple(
    map(frozenset, (
        ("grey", "gray", "silver"), ("purple", "violet", "lavender"), ("red", "crimson", "scarlet"),
        ("pink", "magenta", "rose"), ("car", "automobile", "sedan"), ("sofa", "couch"), ("bicycle", "bike"),
        ("airplane", "plane", "aircraft", "jet"), ("motorcycle", "motorbike"), ("rabbit", "bunny"),
        ("dog", "puppy", "hound"), ("cat", "kitten"), ("below", "underneath", "under", "beneath"),
        ("wooden", "wood"), ("metal", "metallic", "steel"), ("round", "circular"), ("large", "big", "huge"),
        ("small", "little", "tiny"), ("person", "human"), ("photo", "photograph", "picture"), ("road", "street"),
        ("behind", "in back of"), ("above", "over"), ("closed", "shut"), ("couple", "two", "2", "pair"),
    ))
)  # fmt: skip
"""Synonyms and near synonyms, which do not count as a change."""


def plural(noun: str) -> str:
    """The plural of a noun of this file."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def same(one: str, two: str) -> bool:
    """Whether two phrases are synonyms by the tables of this file."""
    one, two = one.casefold().strip(), two.casefold().strip()
    return one == two or any({one, two} <= group for group in ALIKE)


def _rows() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    nouns = tuple(row for singular in OBJECTS for row in (singular, tuple(map(plural, singular))))
    return {
        "color": (COLOURS,), "count": (COUNTS,), "material": (MATERIALS,), "shape": (SHAPES,),
        "spatial relation": RELATIONS, "object": nouns, "condition": CONDITIONS,
    }  # fmt: skip


ALTERNATIVES = _rows()
"""By type of mistake: rows of words that exclude one another. `scene text` has no list: its letters change."""
TYPES = (*ALTERNATIVES, "scene text")
