"""Which of two videos serves a caption better."""

from __future__ import annotations

from typing import ClassVar

from reasoner_rm.tasks.preference import Preference


class VideoPreference(Preference):
    """``prompt`` is the caption; ``videos`` are the two candidates, each a sequence of frames."""

    name: ClassVar[str] = "video_preference"
