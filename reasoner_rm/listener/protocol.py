"""What every listener can do: say how much it believes each option, given the images and a reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reasoner_rm.schema import Belief, Sample


class Listener(Protocol):
    """Frozen and independent of the policy.

    ``beliefs`` takes samples with their completions' texts and returns a belief per text: None where it cannot be
    asked (no closed thought, options that are no single tokens) or holds too little probability on the options.
    """

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]: ...
