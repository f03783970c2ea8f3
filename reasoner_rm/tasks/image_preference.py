"""Which of two images serves a caption better."""

from __future__ import annotations

from typing import ClassVar

from reasoner_rm.tasks.preference import Preference


class ImagePreference(Preference):
    """``prompt`` is the caption; ``images`` are the two candidates."""

    name: ClassVar[str] = "image_preference"
