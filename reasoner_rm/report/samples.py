"""A page of samples: what a dataset asks, shows and holds for right, at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reasoner_rm.data.sample_view import Card, card
from reasoner_rm.report.page import asset, environment
from reasoner_rm.report.thumbnail_cache import ThumbnailCache
from reasoner_rm.schema import Sample
from reasoner_rm.utils.files import atomic_write


def write_page(samples: Sequence[Sample], total: int, source: str | Path, out: str | Path) -> Path:
    """Write one self-contained page of these samples.

    Args:
        total: how many samples ``source`` holds; the page says so when it shows fewer.
    """
    album = ThumbnailCache()
    cards = [card(sample) for sample in samples]
    page = environment().get_template("samples.html.jinja").render(
        name=Path(source).name,
        total=total,
        cards=[(made, album.show(sample)) for made, sample in zip(cards, samples, strict=True)],
        kinds=_kinds(cards),
        style=asset("report.css"),
        own_style=asset("samples.css"),
    )  # fmt: skip
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return Path(out)


def _kinds(cards: Sequence[Card]) -> list[tuple[str, int]]:
    """What the badges say, and how often: the most frequent first."""
    return Counter(badge for made in cards for badge in made.badges).most_common(14)
