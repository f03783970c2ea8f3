"""Processing of images for a vision tower, in this process or ahead of time in worker processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef


@dataclass(frozen=True, slots=True, weakref_slot=True)
class EncodedImage:
    """One processed image. ``key`` identifies it within a run; sizes are (width, height) in pixels."""

    key: str
    pixel_values: torch.Tensor
    grid_thw: torch.Tensor
    original: tuple[int, int]
    processed: tuple[int, int]


def image_key(ref: MediaRef) -> str:
    """An image's cache key: a hash of its content, or its path with the file's modification time and size."""
    if isinstance(ref, str):
        return f"{ref}\x1f{_file_version(ref)}"
    if isinstance(ref, bytes):
        return hashlib.sha256(ref).hexdigest()
    return hashlib.sha256(repr((ref.mode, ref.size)).encode() + ref.tobytes()).hexdigest()


def _file_version(ref: str) -> tuple[int, int] | None:
    for path in (ref, ref.partition("#")[0]):  # the file, or the container before the #
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            continue
        return stat.st_mtime_ns, stat.st_size
    return None


def process_image(key: str, ref: MediaRef, processor: Any) -> EncodedImage:
    """Open an image and run the family's own processor on it.

    Raises:
        InputError: a missing or broken image, or an aspect ratio that the processor rejects.
    """
    image = open_image(ref)
    try:
        out = processor(images=[image], return_tensors="pt")
    except ValueError as error:  # the aspect ratio
        name = ref if isinstance(ref, str) else "<image>"
        raise InputError(f"{image.width}x{image.height} pixels: {error}", file=name, remedy="crop it") from None
    grid, patch = out["image_grid_thw"], processor.patch_size
    processed = (int(grid[0, 2]) * patch, int(grid[0, 1]) * patch)
    return EncodedImage(key, out["pixel_values"], grid, image.size, processed)


class ImagePrefetcher:
    """Worker processes that process images ahead of time. An error is raised when its image is requested."""

    def __init__(self, processor: Any, workers: int):
        spawned = multiprocessing.get_context("spawn")  # a forked torch may hang
        self._pool = ProcessPoolExecutor(workers, spawned, initializer=_init_worker, initargs=(processor,))
        self._pending: dict[str, Future[Any]] = {}

    def start(self, key: str, ref: MediaRef) -> None:
        """Submit an image, unless it is pending already."""
        if key not in self._pending:
            self._pending[key] = self._pool.submit(_process, key, ref)

    def result(self, key: str) -> EncodedImage | None:
        """The processed image, once it is done; None for one that was not submitted."""
        pending = self._pending.pop(key, None)
        if pending is None:
            return None
        pixels, grid, original, processed = pending.result()
        return EncodedImage(key, torch.from_numpy(pixels), torch.from_numpy(grid), original, processed)


_processor: Any = None


def _init_worker(processor: Any) -> None:
    global _processor
    _processor = processor
    torch.set_num_threads(1)


def _process(key: str, ref: MediaRef) -> tuple[Any, Any, tuple[int, int], tuple[int, int]]:
    """Returns arrays, as tensors would use shared memory, of which containers have little."""
    encoded = process_image(key, ref, _processor)
    return encoded.pixel_values.numpy(), encoded.grid_thw.numpy(), encoded.original, encoded.processed
