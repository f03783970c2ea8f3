"""Hashes of images that survive scaling and recompression, and of texts that ignore case and white space."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image

BITS = 64
NEAR = 6
"""Perceptual hashes that differ in at most this number of their 64 bits count as one image."""
GRAM = 8
"""Words per n-gram; shorter ones are shared by chance."""

K = TypeVar("K", bound=Hashable)


def perceptual_hash(image: Image) -> int:
    """64 bits that survive scaling and recompression: imagehash's pHash."""
    import imagehash

    small = image.resize((128, 128), resample=4) if min(image.size) > 256 else image  # 4: box, quick and smooth
    return int(str(imagehash.phash(small)), 16)


def exact_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class NearHashes(Generic[K]):
    """Finds hashes within ``near`` bits of one seen before, without comparing with all of them.

    A hash is divided into near + 1 bands: two hashes that differ in at most ``near`` bits have an equal band.
    """

    def __init__(self, near: int = NEAR):
        self.near = near
        self._bands: dict[tuple[int, int], list[tuple[int, K]]] = defaultdict(list)
        edges = [round(i * BITS / (near + 1)) for i in range(near + 2)]
        self._cuts = [(low, (1 << (high - low)) - 1) for low, high in itertools.pairwise(edges)]

    def add(self, value: int, key: K) -> None:
        for band in self._of(value):
            self._bands[band].append((value, key))

    def find(self, value: int) -> K | None:
        """The key of the first near hash; None without one."""
        for band in self._of(value):
            for other, key in self._bands.get(band, ()):
                if (value ^ other).bit_count() <= self.near:
                    return key
        return None

    def _of(self, value: int) -> Iterator[tuple[int, int]]:
        for i, (low, mask) in enumerate(self._cuts):
            yield i, (value >> low) & mask


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def shingles(text: str, n: int = GRAM) -> set[int]:
    """Hashes of all word n-grams; of the whole text where it is shorter. Empty for a text without words."""
    found = words(text)
    if not found:
        return set()
    runs = [found] if len(found) < n else [found[i : i + n] for i in range(len(found) - n + 1)]
    return {int.from_bytes(hashlib.blake2b(" ".join(r).encode(), digest_size=8).digest(), "big") for r in runs}
