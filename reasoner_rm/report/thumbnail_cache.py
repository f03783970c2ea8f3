"""What a sample shows, as pictures for a page: each image is opened once, and its thumbnail made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasoner_rm.data.images import open_image
from reasoner_rm.data.sample_view import Item, card
from reasoner_rm.errors import InputError
from reasoner_rm.report.thumbnails import thumbnail
from reasoner_rm.schema import MediaRef, Sample


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: a `data:` address, None where it is missing or broken, and its own (width, height) in pixels."""

    uri: str | None
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RenderedItem:
    """An item of a sample with its pictures: one for an image, several for a video, none for a text."""

    item: Item
    pictures: tuple[Picture, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Of the first picture: the space in which the item's boxes are drawn."""
        return self.pictures[0].size if self.pictures else (1, 1)


class ThumbnailCache:
    """The pictures of a page, by reference."""

    def __init__(self) -> None:
        self._made: dict[str, Picture] = {}

    def show(self, sample: Sample) -> list[RenderedItem]:
        """Everything that a sample shows, in order."""
        return [RenderedItem(item, tuple(self.picture(ref) for ref in _refs(item))) for item in card(sample).items]

    def picture(self, ref: MediaRef) -> Picture:
        if not isinstance(ref, str):
            return _open(ref)
        if ref not in self._made:
            self._made[ref] = _open(ref)
        return self._made[ref]

    @property
    def missing(self) -> list[str]:
        """The references that could not be opened."""
        return [ref for ref, picture in self._made.items() if picture.uri is None]


def _refs(item: Item) -> Iterator[MediaRef]:
    if item.frames:
        yield from item.frames
    elif item.ref:
        yield item.ref


def _open(ref: MediaRef) -> Picture:
    try:
        image = open_image(ref)
    except InputError:
        return Picture(None, (1, 1))
    return Picture(thumbnail(image), image.size)
