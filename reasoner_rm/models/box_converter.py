"""Where a policy's boxes live: data state them in original pixels, models write them in a space of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reasoner_rm.schema import BoxSpace, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, from_original, to_original

if TYPE_CHECKING:
    from reasoner_rm.models.prompt_encoder import PromptEncoder

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BoxConverter:
    """``space`` is the family's; ``sizes`` gives the (width, height) of a sample's image in pixels: as it is on disk,
    and as the policy saw it."""

    space: BoxSpace
    sizes: Callable[[Sample], tuple[Size, Size]]

    @classmethod
    def of(cls, encoder: PromptEncoder) -> BoxConverter:
        """The canvas of an encoder's model."""
        return cls(encoder.vlm.family.box_space, lambda sample: encoder.sizes(sample.images[0]))

    def original(self, found: Boxes, sample: Sample) -> Boxes:
        """Boxes as the policy wrote them, in pixels of the original image."""
        return Boxes(to_original(found.xyxy, self.space, *self.sizes(sample)), found.labels)

    def text_to_original(self, text: str, sample: Sample) -> str:
        """A completion as a sample's ``target`` states it: with its boxes in original pixels."""
        task = get_task(sample.task)
        if not isinstance(task, Localisation):
            return text
        sizes = self.sizes(sample)
        return task.convert_boxes(text, sample, lambda boxes: to_original(boxes, self.space, *sizes))

    def text_to_model(self, text: str, sample: Sample) -> str:
        """A sample's ``target`` as the policy is to write it."""
        task = get_task(sample.task)
        if not isinstance(task, Localisation):
            return text
        sizes = self.sizes(sample)
        return task.convert_boxes(text, sample, lambda boxes: from_original(boxes, self.space, *sizes))
