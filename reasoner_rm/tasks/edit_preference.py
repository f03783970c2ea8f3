"""Which of two edits of an image follows an instruction better."""

from __future__ import annotations

from typing import ClassVar

from reasoner_rm.tasks.preference import Preference


class EditPreference(Preference):
    """``prompt`` is the instruction; ``images`` are the source image, then the two results.

    The results are called `Image 1` and `Image 2`; the source has no number, so no verdict can name it.
    """

    name: ClassVar[str] = "edit_preference"
