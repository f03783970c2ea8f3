"""A video as a sequence of frames. Video files (mp4) are not decoded, as no dependency has a decoder."""

from __future__ import annotations

import re
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, VideoRef

MAX_FRAMES = 8
"""Longer videos are subsampled uniformly, first and last frame included."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def frames(video: VideoRef, limit: int = MAX_FRAMES) -> tuple[MediaRef, ...]:
    """The frames of a video, at most ``limit`` (2 or more). Files of a folder are in natural order, 9 before 10.

    Raises:
        InputError: no such folder, a folder or list without frames, a video file.
    """
    if isinstance(video, tuple):
        every: tuple[MediaRef, ...] = video
    elif isinstance(video, str) and Path(video).is_dir():
        files = (file for file in Path(video).iterdir() if file.suffix.lower() in _SUFFIXES)
        every = tuple(str(file) for file in sorted(files, key=_natural_order))
    else:
        name = video if isinstance(video, str) else type(video).__name__
        remedy = "extract the video's frames and refer to their folder, or list them"
        raise InputError(f"no folder of frames: {name}", remedy=remedy)
    if not every:
        raise InputError(f"no frames in {video or 'an empty list'}", remedy=f"put {', '.join(_SUFFIXES)} files there")
    if len(every) <= limit:
        return every
    return tuple(every[round(i * (len(every) - 1) / (limit - 1))] for i in range(limit))


def _natural_order(file: Path) -> list[tuple[int, str]]:
    """A sort key in which numbers in a name compare by value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", file.name)]
