"""Processed images: each is made once while somebody needs it."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from reasoner_rm.models import prompt_encoder
from reasoner_rm.models.image_processing import process_image
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.tasks.render import Prompt


def test_images_larger_than_the_cache_are_processed_once_a_batch(tiny: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout batch encodes its prompts, then engine and listener encode them again."""
    made: list[str] = []

    def counted(key: str, *rest: Any) -> Any:
        made.append(key)
        return process_image(key, *rest)

    monkeypatch.setattr(prompt_encoder, "process_image", counted)
    encoder = PromptEncoder(tiny, cache_bytes=1)
    prompts = [Prompt((Image.new("RGB", (56, 56), (shade, 0, 0)), "what?"), (True, False)) for shade in range(4)]
    held = [encoder.encode(prompt) for prompt in prompts]
    again = [encoder.encode(prompt) for prompt in prompts]
    assert len(made) == 4 and all(a.images[0] is b.images[0] for a, b in zip(held, again, strict=True))
    del held, again
    for prompt in prompts:
        encoder.encode(prompt)
    assert len(made) == 8, "what nobody holds any more is not kept beyond the cache"
