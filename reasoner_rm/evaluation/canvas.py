"""Where a policy's boxes live, and the way back to the image they were found in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reasoner_rm.schema import BoxSpace, Sample
from reasoner_rm.tasks.boxes import Boxes, to_original

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Canvas:
    """``space`` is the family's; ``sizes`` gives the (width, height) of a sample's image in pixels: as it is on disk,
    and as the policy saw it."""

    space: BoxSpace
    sizes: Callable[[Sample], tuple[Size, Size]]

    def original(self, found: Boxes, sample: Sample) -> Boxes:
        """Boxes as the policy wrote them, in pixels of the original image."""
        return Boxes(to_original(found.xyxy, self.space, *self.sizes(sample)), found.labels)
