"""Where the media of a run stand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from reasoner_rm.schema import Sample, VideoRef


def located(sample: Sample, run: Path) -> Sample:
    """The sample with references that hold from here, not from the run directory."""

    def video(ref: VideoRef) -> VideoRef:
        return tuple(_locate(str(frame), run) for frame in ref) if isinstance(ref, tuple) else _locate(str(ref), run)

    images = tuple(_locate(str(ref), run) for ref in sample.images)
    return dataclasses.replace(sample, images=images, videos=tuple(video(ref) for ref in sample.videos))


def _locate(ref: str, run: Path) -> str:
    """From the run directory if it stands there, else as it is."""
    here = run / ref
    return str(here) if Path(str(here).partition("#")[0]).exists() else ref
