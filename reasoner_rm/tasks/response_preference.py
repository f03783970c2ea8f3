"""Which of two answers to a question about images or videos is better."""

from __future__ import annotations

from typing import ClassVar

from reasoner_rm.tasks.preference import Preference


class ResponsePreference(Preference):
    """``prompt`` is the question; ``responses`` are the two candidates; images and videos belong to both."""

    name: ClassVar[str] = "response_preference"
