"""Duplicate samples, and samples that are in a benchmark: by image (exact or perceptual hash) and by text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from reasoner_rm.data.hashes import NEAR, NearHashes, exact_hash, perceptual_hash, shingles
from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.data.pairing import plain
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks.frames import frames

OVERLAP = 0.5
"""A prompt counts as taken from a benchmark if at least this share of its word n-grams is in it."""


class ImageIds:
    """The same number for equal images: equal bytes, or perceptual hashes within ``near`` bits."""

    def __init__(self, near: int | None = NEAR):
        self.near = near
        self._exact: dict[str, int] = {}
        self._near: NearHashes[int] = NearHashes(near or 0)

    def of(self, ref: MediaRef, known: bool = False) -> int | None:
        """The image's number. A new image gets a new number, or None with ``known``."""
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
    """The first of samples with the same prompt, answers and images in any order, as far as these are compared."""
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


class Benchmarks:
    """The images and texts of benchmarks, which must not be in training data.

    Texts are equal if they differ in case and white space only, or share half of their 8-grams of words. Texts of fewer
    than four words are not compared.

    Args:
        held: each benchmark's name with its samples.

    Raises:
        InputError: a benchmark without samples.
    """

    def __init__(self, held: Iterable[tuple[str, Iterable[Sample]]], near: int | None = NEAR):
        self._ids = ImageIds(near)
        self._images, self._texts, self._runs = dict[int, str](), dict[str, str](), dict[int, str]()
        for name, samples in held:
            taken = 0
            for sample in samples:
                self._add(name, sample)
                taken += 1
            if not taken:
                raise InputError(f"{name} holds no samples", remedy="without samples nothing can be found in it")

    def _add(self, name: str, sample: Sample) -> None:
        for ref in images_of(sample):
            number = self._ids.of(ref)
            assert number is not None
            self._images.setdefault(number, name)
        for text in _texts(sample):
            self._texts.setdefault(plain(text), name)
            for run in shingles(text):
                self._runs.setdefault(run, name)

    def holds(self, sample: Sample) -> str:
        """The reason why a sample may not be trained on; empty if it may."""
        for text in _texts(sample):
            if name := self._texts.get(plain(text)):
                return f"its text is in {name}"
            mine = shingles(text)
            shared = [self._runs[run] for run in mine if run in self._runs]
            if shared and len(shared) >= OVERLAP * len(mine):
                return f"its text overlaps with {Counter(shared).most_common(1)[0][0]}"
        for ref in images_of(sample):
            number = self._ids.of(ref, known=True)
            if number is not None:
                return f"its image is in {self._images[number]}"
        return ""


def _texts(sample: Sample) -> list[str]:
    """The texts of a sample that identify it."""
    return [text for text in (sample.prompt, *sample.responses) if len(text.split()) >= 4]


def decontaminate(samples: Iterable[Sample], against: Benchmarks) -> Iterator[Sample | str]:
    """The samples that are in no benchmark; in place of each other one the reason, which names the benchmark."""
    for sample in samples:
        yield against.holds(sample) or sample
