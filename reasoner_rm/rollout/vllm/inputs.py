"""An encoded prompt as vLLM takes it: the very token ids and pixels that the trainer sees.

vLLM would process images once more, with settings of its own. Handed what our encoder has made it cannot differ, and
each image is processed once for engine, trainer and listener together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt


def engine_input(llm: Any, vlm: Vlm, prompt: EncodedPrompt, prefix_ids: Sequence[int] = ()) -> Any:
    """A prompt, and the tokens of the assistant's answer that are given."""
    from transformers import BatchFeature
    from vllm.inputs.engine import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

    tokens = [*prompt.input_ids, *prefix_ids]
    if not prompt.images:
        return tokens_input(tokens)
    grids = torch.cat([image.grid_thw for image in prompt.images])
    pixels = torch.cat([image.pixel_values for image in prompt.images])
    processed = BatchFeature({"pixel_values": pixels, "image_grid_thw": grids})
    fields = llm.llm_engine.renderer.mm_processor._get_mm_fields_config(processed, {})
    places, at = [], 0
    for length in (grids.prod(-1) // vlm.processor.image_processor.merge_size**2).tolist():
        at = tokens.index(vlm.model.config.image_token_id, at)
        places.append(PlaceholderRange(offset=at, length=length))
        at += length
    keys = [image.key for image in prompt.images]
    return mm_input(tokens, MultiModalKwargsItems.from_hf_inputs(processed, fields), {"image": keys}, {"image": places})
