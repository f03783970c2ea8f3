"""A video as its frames. Films (mp4 and the like) are not decoded: there is no decoder among the dependencies."""

from __future__ import annotations

import re
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, VideoRef

MAX_FRAMES = 8
"""Longer videos are thinned out evenly; first and last frame stay."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def frames(video: VideoRef, most: int = MAX_FRAMES) -> tuple[MediaRef, ...]:
    """The frames of a video, at most ``most`` (2 or more). Those of a folder are ordered by name, 9 before 10.

    Raises:
        InputError: no such folder, a folder or list without frames, a film.
    """
    if isinstance(video, tuple):
        every: tuple[MediaRef, ...] = video
    elif isinstance(video, str) and Path(video).is_dir():
        files = (file for file in Path(video).iterdir() if file.suffix.lower() in _SUFFIXES)
        every = tuple(str(file) for file in sorted(files, key=_counting))
    else:
        name = video if isinstance(video, str) else type(video).__name__
        remedy = "extract the video's frames and refer to their folder, or list them"
        raise InputError(f"no folder of frames: {name}", remedy=remedy)
    if not every:
        raise InputError(f"no frames in {video or 'an empty list'}", remedy=f"put {', '.join(_SUFFIXES)} files there")
    if len(every) <= most:
        return every
    return tuple(every[round(i * (len(every) - 1) / (most - 1))] for i in range(most))


def _counting(file: Path) -> list[tuple[int, str]]:
    """Sorts the numbers in a name by value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", file.name)]
