"""P(yes) as a differentiable function of pixels, for ReNO, DRaFT and AlignProp.

No gradient passes through sampled tokens, so a judge that reasons cannot be differentiated. This reward is one forward
pass of a base model, without reasoning, that takes the probability of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from reasoner_rm.errors import InputError
from reasoner_rm.judge.judge import Judge
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.token_logprobs import processed_logits
from reasoner_rm.rollout.base import option_token_ids
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.escape import escape
from reasoner_rm.tasks.render import Prompt

QUESTION = "Does the image show exactly this: {caption}? Answer yes or no."
PREFIX = "<answer>"


def as_differentiable(
    judge: Judge, *, question: str = QUESTION, options: tuple[str, str] = ("yes", "no")
) -> Callable[[Tensor, Sequence[str]], Tensor]:
    """``fn(images [N, 3, H, W] in 0..1, captions) -> [N]``: the probability of the first option against the second,
    0..1, with a gradient to the images. The model's weights are frozen.

    Raises:
        InputError: a judge that was trained to reason; another engine than transformers; options that are not single
            tokens.
    """
    if not judge.is_base_model:
        raise InputError(
            f"this judge was trained to reason ({judge.config.task}), and sampled tokens have no gradient",
            remedy="use a base model, or a policy-gradient trainer with as_flow_grpo",
        )
    engine = judge.engine.engine
    if not isinstance(engine, TransformersEngine):
        raise InputError("a gradient needs the transformers engine", remedy='load the judge with engine="transformers"')
    vlm = engine.vlm
    tokens = option_token_ids(PREFIX, options, vlm.tokenizer)
    if tokens is None:
        raise InputError(f"the options {options} are not single tokens of this model")
    prefix, (yes, no) = tokens
    vlm.model.requires_grad_(False)
    encoder = PromptEncoder(vlm, cache_bytes=0)

    def reward(images: Tensor, captions: Sequence[str]) -> Tensor:
        if images.dim() != 4 or images.shape[1] != 3 or len(images) != len(captions):
            raise InputError(f"images of shape {tuple(images.shape)} for {len(captions)} captions")
        return torch.stack([p_yes(image, caption) for image, caption in zip(images, captions, strict=True)])

    def p_yes(image: Tensor, caption: str) -> Tensor:
        pixels, grid = patches(image, vlm)
        size = (grid[2] * vlm.processor.image_processor.patch_size, grid[1] * vlm.processor.image_processor.patch_size)
        text = question.format(caption=escape(caption))
        ids = encoder.encode(Prompt((Image.new("RGB", size), f"\n{text}"), (True, False))).input_ids
        row = torch.tensor([[*ids, *prefix]], device=vlm.device)
        mask, grids = torch.ones_like(row), torch.tensor([grid], device=vlm.device)
        hidden = vlm.model.model(
            input_ids=row,
            attention_mask=mask,
            position_ids=vlm.family.positions(vlm.model, row, mask, grids),
            pixel_values=pixels,
            image_grid_thw=grids,
        ).last_hidden_state[:, -1]
        logits = processed_logits(vlm.model.lm_head, hidden, vlm.banned_token_ids, 1.0)[0]
        return (logits[yes] - logits[no]).sigmoid()

    return reward


def patches(image: Tensor, vlm: Vlm) -> tuple[Tensor, tuple[int, int, int]]:
    """An image [3, H, W] in 0..1 as its processor patchifies it, differentiable: patches [P, D], grid (t, h, w)."""
    settings: Any = vlm.processor.image_processor
    patch, merge, frames = settings.patch_size, settings.merge_size, settings.temporal_patch_size
    height, width = smart_resize(
        image.shape[1], image.shape[2], patch * merge, settings.size.shortest_edge, settings.size.longest_edge
    )
    resized = F.interpolate(image[None].float(), (height, width), mode="bicubic", antialias=True)[0].clamp(0, 1)
    mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (settings.image_mean, settings.image_std))
    h, w = height // patch, width // patch
    split = ((resized - mean) / std).expand(frames, -1, -1, -1)
    split = split.reshape(frames, 3, h // merge, merge, patch, w // merge, merge, patch)
    split = split.permute(2, 5, 3, 6, 1, 0, 4, 7)
    return split.reshape(h * w, -1).to(vlm.device, vlm.model.dtype), (1, h, w)
