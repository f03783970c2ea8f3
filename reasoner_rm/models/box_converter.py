"""Conversion of boxes between original pixels, as in data, and the box space of a model family."""

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
    """``space`` is the family's box space; ``sizes`` gives the (width, height) of a sample's image in pixels, original
    and processed."""

    space: BoxSpace
    sizes: Callable[[Sample], tuple[Size, Size]]

    @classmethod
    def of(cls, encoder: PromptEncoder) -> BoxConverter:
        """The converter of an encoder's model."""
        return cls(encoder.vlm.family.box_space, lambda sample: encoder.sizes(sample.images[0]))

    def original(self, boxes: Boxes, sample: Sample) -> Boxes:
        """Boxes in the family's space, converted to pixels of the original image."""
        return Boxes(to_original(boxes.xyxy, self.space, *self.sizes(sample)), boxes.labels)

    def text_to_original(self, text: str, sample: Sample) -> str:
        """A completion with its boxes converted to original pixels, the form of a sample's ``target``."""
        task = get_task(sample.task)
        if not isinstance(task, Localisation):
            return text
        sizes = self.sizes(sample)
        return task.convert_boxes(text, sample, lambda boxes: to_original(boxes, self.space, *sizes))

    def text_to_model(self, text: str, sample: Sample) -> str:
        """A sample's ``target`` with its boxes converted to the family's space, for the policy to learn."""
        task = get_task(sample.task)
        if not isinstance(task, Localisation):
            return text
        sizes = self.sizes(sample)
        return task.convert_boxes(text, sample, lambda boxes: from_original(boxes, self.space, *sizes))
