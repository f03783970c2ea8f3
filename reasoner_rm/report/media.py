"""The images of a sample: references resolved against a run directory, and thumbnails embedded in a page."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner_rm.data.images import open_image
from reasoner_rm.data.sample_view import Item, view_sample
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, Sample, VideoRef

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_SIDE = 160
"""The longer side of a thumbnail, in pixels; smaller images keep their size."""

LOSSLESS_SIDE = 64
"""Thumbnails up to this side are stored without loss: the page enlarges them, and artefacts would show."""


def resolve_media(sample: Sample, run: Path) -> Sample:
    """The sample with its relative media references resolved against the run directory."""

    def video(ref: VideoRef) -> VideoRef:
        return tuple(_locate(str(frame), run) for frame in ref) if isinstance(ref, tuple) else _locate(str(ref), run)

    images = tuple(_locate(str(ref), run) for ref in sample.images)
    return dataclasses.replace(sample, images=images, videos=tuple(video(ref) for ref in sample.videos))


def _locate(ref: str, run: Path) -> str:
    """The path below the run directory if that file exists, else the reference unchanged."""
    path = run / ref
    return str(path) if Path(str(path).partition("#")[0]).exists() else ref


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail as a `data:` URI, None if the image is missing or broken; the image's (width, height) in pixels."""

    uri: str | None
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RenderedItem:
    """An item of a sample with its pictures: one for an image, one per frame of a video, none for a text."""

    item: Item
    pictures: tuple[Picture, ...]

    @property
    def size(self) -> tuple[int, int]:
        """The first picture's size: the coordinate space of the item's boxes."""
        return self.pictures[0].size if self.pictures else (1, 1)


class ThumbnailCache:
    """Thumbnails by reference: each image is opened once per page."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}

    def render(self, sample: Sample) -> list[RenderedItem]:
        """All items of a sample with their pictures, in order."""
        return [
            RenderedItem(item, tuple(self.picture(ref) for ref in _refs(item))) for item in view_sample(sample).items
        ]

    def picture(self, ref: MediaRef) -> Picture:
        if not isinstance(ref, str):
            return _open(ref)
        if ref not in self._pictures:
            self._pictures[ref] = _open(ref)
        return self._pictures[ref]

    @property
    def missing(self) -> list[str]:
        """The references that could not be opened."""
        return [ref for ref, picture in self._pictures.items() if picture.uri is None]


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
    return Picture(_thumbnail(image), image.size)


def _thumbnail(image: Image) -> str:
    """A `data:` URI of the image in WebP, scaled down to `THUMBNAIL_SIDE`."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=4, lossless=max(small.size) <= LOSSLESS_SIDE)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
