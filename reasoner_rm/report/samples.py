"""A page of samples: what a dataset asks, shows and holds for right, at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.data.cards import Card, Item, card
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import atomic
from reasoner_rm.errors import InputError
from reasoner_rm.report.html import asset, environment
from reasoner_rm.report.thumbnails import thumbnail
from reasoner_rm.schema import MediaRef, Sample


@dataclass(frozen=True, slots=True)
class Shown:
    """An item with its pictures: a `data:` address each, None where one is missing, and the first one's size."""

    item: Item
    pictures: tuple[str | None, ...]
    size: tuple[int, int]


def write_page(samples: Sequence[Sample], total: int, source: str | Path, out: str | Path) -> Path:
    """Write one self-contained page of these samples.

    Args:
        total: how many samples ``source`` holds; the page says so when it shows fewer.
    """
    cards = [card(sample) for sample in samples]
    page = environment().get_template("samples.html.jinja").render(
        name=Path(source).name,
        total=total,
        cards=[(made, [_shown(item) for item in made.items]) for made in cards],
        kinds=_kinds(cards),
        style=asset("report.css"),
        own_style=asset("samples.css"),
    )  # fmt: skip
    with atomic(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return Path(out)


def _kinds(cards: Sequence[Card]) -> list[tuple[str, int]]:
    """What the badges say, and how often: the most frequent first."""
    return Counter(badge for made in cards for badge in made.badges).most_common(14)


def _shown(item: Item) -> Shown:
    refs: tuple[MediaRef | None, ...] = item.frames or (item.ref,)
    found = [ref for ref in refs if ref is not None]
    return Shown(item, tuple(thumbnail(ref) for ref in found), _size(found[0]) if found else (1, 1))


def _size(ref: MediaRef) -> tuple[int, int]:
    try:
        return open_image(ref).size
    except InputError:
        return (1, 1)
