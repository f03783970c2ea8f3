"""Samples that are there already, and samples that a benchmark holds: by image, exactly or nearly, and by text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reasoner_rm.data.comparing import plain
from reasoner_rm.data.hashes import NEAR, NearHashes, exact_hash, perceptual_hash, shingles
from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.data.streams import stream
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks.video import frames

OVERLAP = 0.5
"""A prompt of which at least this share of word runs stands in the benchmark counts as taken from it."""


class ImageIds:
    """The same number for images that are the same: to the byte, or by perceptual hash within ``near`` bits."""

    def __init__(self, near: int | None = NEAR):
        self.near = near
        self._exact: dict[str, int] = {}
        self._near: NearHashes[int] = NearHashes(near or 0)

    def of(self, ref: MediaRef, known: bool = False) -> int | None:
        """The image's number; a new one where it is new, or None if only ``known`` ones are asked for."""
        data = read_bytes(ref) if isinstance(ref, str) else ref if isinstance(ref, bytes) else None
        key = exact_hash(data) if data is not None else None
        if key in self._exact:
            return self._exact[key]  # type: ignore[index]  # None is never a key
        found = value = None
        if self.near is not None:
            name = ref if isinstance(ref, str) else ""
            value = perceptual_hash(open_image(ref if data is None else data, name))
            found = self._near.find(value)
        if found is None:
            if known:
                return None
            found = len(self._exact)
            if value is not None:
                self._near.add(value, found)
        if key is not None:
            self._exact[key] = found
        return found


def images_of(sample: Sample) -> Iterator[MediaRef]:
    """Every image of a sample; of a video its first and last frame."""
    yield from sample.images
    for video in sample.videos:
        every = frames(video)
        yield from (every[0], every[-1])


def dedup(samples: Iterable[Sample], near: int | None, prompt: bool, images: bool) -> Iterator[Sample | str]:
    """The first of samples with the same prompt, answers and images (in any order), as far as these are looked at."""
    ids, seen = ImageIds(near), set[int]()
    for sample in samples:
        text = (plain(sample.prompt), *sorted(map(plain, sample.responses))) if prompt else ()
        shown = (
            tuple(sorted(number for ref in images_of(sample) if (number := ids.of(ref)) is not None)) if images else ()
        )
        key = hash((sample.task, text, shown))
        if key in seen:
            yield "a duplicate"
        else:
            seen.add(key)
            yield sample


class Benchmark:
    """What must not be trained on: the images and prompts of benchmark files.

    Texts count as the same when they agree but for case and white space, or share half of their runs of eight words;
    prompts of fewer than four words are common property and do not count.
    """

    def __init__(self, files: Sequence[Path], near: int | None = NEAR):
        self.images, self.prompts, self.runs = ImageIds(near), set[str](), set[int]()
        for file in files:
            for _, sample in stream(file):
                for ref in images_of(sample):
                    self.images.of(ref)
                for text in (sample.prompt, *sample.responses):
                    if len(text.split()) >= 4:
                        self.prompts.add(plain(text))
                        self.runs |= shingles(text)

    def holds(self, sample: Sample) -> str:
        """Why a sample may not be trained on; empty if it may."""
        for text in (sample.prompt, *sample.responses):
            if plain(text) in self.prompts:
                return "its text stands in a benchmark"
            mine = shingles(text)
            if len(text.split()) >= 4 and mine and len(mine & self.runs) >= OVERLAP * len(mine):
                return "its text overlaps with a benchmark"
        if any(self.images.of(ref, known=True) is not None for ref in images_of(sample)):
            return "its image stands in a benchmark"
        return ""


def decontaminate(samples: Iterable[Sample], against: Benchmark) -> Iterator[Sample | str]:
    """The samples that no benchmark holds."""
    for sample in samples:
        yield against.holds(sample) or sample
