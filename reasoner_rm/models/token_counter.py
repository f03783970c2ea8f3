"""Token counts of samples for a model, text and images, by its processor and without its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.models.chat_template import chat_text
from reasoner_rm.models.families import IMAGE_TOKEN
from reasoner_rm.models.loading import load_architecture, resolve_model, set_pixels
from reasoner_rm.models.pretrained import load_processor, reason
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks.render import load_template, render


@dataclass(slots=True)
class Counter:
    """Counts with the processor of one model. ``limit`` is the model's context length in tokens.

    An image's tokens depend on its size alone, so each size is processed once.
    """

    processor: Any
    limit: int
    template: str = "default"
    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    @classmethod
    def of(
        cls, model: str | Path, template: str = "default", min_pixels: int | None = None, max_pixels: int | None = None
    ) -> Counter:
        """The counter of a checkpoint folder, run or hub id.

        Raises:
            InputError: no model there, or none with a processor.
        """
        source = resolve_model(model)
        config = load_architecture(source)
        try:
            processor = load_processor(source, config)
        except InputError:
            raise
        except Exception as error:  # transformers raises many kinds on broken files
            what = f"no processor at {source!r} ({reason(error)})"
            raise InputError(what, remedy="give a checkpoint or a run") from None
        set_pixels(processor, min_pixels, max_pixels)
        return cls(processor, int(config.get_text_config().max_position_embeddings), template)

    def image(self, image: Any) -> int:
        """The tokens of a PIL image: its grid / merge², checked against the placeholders in the processor's prompt.

        Raises:
            InputError: the two counts differ, or the processor rejects the image.
        """
        size = image.size
        if size not in self._sizes:
            with self._lock:
                try:
                    out = self.processor(text=[IMAGE_TOKEN], images=[image], return_tensors="pt")
                except Exception as error:  # each family's processor raises its own kinds
                    raise InputError(f"the processor rejects an image of {size[0]}x{size[1]} ({error})") from None
            placeholders = int((out["input_ids"] == self.processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)).sum())
            merge = self.processor.image_processor.merge_size
            count = int(out["image_grid_thw"].prod()) // merge**2
            if placeholders != count:
                raise InputError(f"an image of {size[0]}x{size[1]} has {placeholders} placeholders, expected {count}")
            self._sizes[size] = count
        return self._sizes[size]

    def text(self, sample: Sample) -> int:
        """The tokens of prompt, target and chat template, each image as one placeholder."""
        prompt = render(sample, load_template(sample.task, self.template))
        text = chat_text(self.processor, prompt.messages()) + (sample.target or "")
        return len(self.processor.tokenizer(text, add_special_tokens=False).input_ids)

    def shown(self, sample: Sample) -> tuple[MediaRef, ...]:
        """Every image of the prompt, frames of videos included."""
        return render(sample, load_template(sample.task, self.template)).images
