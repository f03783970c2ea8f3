"""Per-token log-probabilities of groups: log_softmax(logits / T) with banned tokens at minus infinity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prefix import advance, expand, pad_right, prefill
from reasoner_rm.policy.prompts import PromptBatch


@dataclass(frozen=True, slots=True)
class GroupLogps:
    """``logps`` and ``mask`` [B, C], B = all completions of all groups in order; ``entropy`` [B, C] on request."""

    logps: torch.Tensor
    mask: torch.Tensor
    entropy: torch.Tensor | None = None


def processed_logits(head: Any, hidden: torch.Tensor, banned: Sequence[int], temperature: float) -> torch.Tensor:
    """What is sampled from: fp32 logits over T, banned tokens at minus infinity. [..., V]"""
    logits = head(hidden).float() / temperature
    logits[..., list(banned)] = -torch.inf
    return logits


def token_logps(
    vlm: Vlm, hidden: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, temperature: float, entropy: bool
) -> GroupLogps:
    """Log-probabilities of ``ids`` [B, C] under ``hidden`` [B, C, D], the states one position before each."""
    logps = processed_logits(vlm.model.lm_head, hidden, vlm.banned, temperature).log_softmax(-1)
    chosen = logps.gather(-1, ids[..., None])[..., 0].masked_fill(mask == 0, 0.0)
    spread = None
    if entropy:
        with torch.no_grad():
            spread = -(logps.exp() * logps.masked_fill(logps == -torch.inf, 0.0)).sum(-1).masked_fill(mask == 0, 0.0)
    return GroupLogps(chosen, mask, spread)


def shared_prefix_logps(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Sequence[Sequence[Sequence[int]]],
    temperature: float = 1.0,
    entropy: bool = False,
) -> GroupLogps:
    """Log-probabilities of N ragged groups, each prompt computed once.

    Args:
        prompts: the N prompts.
        completions: for each prompt its G_i completions as token ids; lengths may differ.
    """
    flat = [c for group in completions for c in group]
    ids, mask = pad_right(flat, vlm.tokenizer.pad_token_id, vlm.device)
    prefix = expand(prefill(vlm.model, prompts), [len(group) for group in completions])
    first = prefix.last_hidden[:, None]
    hidden = (
        first if ids.shape[1] == 1 else torch.cat([first, advance(vlm.model, prefix, ids[:, :-1], mask[:, :-1])], 1)
    )
    return token_logps(vlm, hidden, ids, mask, temperature, entropy)


def repeated_logps(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Sequence[Sequence[Sequence[int]]],
    temperature: float = 1.0,
    entropy: bool = False,
) -> GroupLogps:
    """The same numbers the usual way: every completion with its own copy of prompt and images.

    The reference for tests, and the form that works under gradient checkpointing and any wrapper.
    """
    flat = [c for group in completions for c in group]
    ids, mask = pad_right(flat, vlm.tokenizer.pad_token_id, vlm.device)
    counts = torch.tensor([len(group) for group in completions], device=vlm.device)
    rows = torch.repeat_interleave(torch.arange(len(counts), device=vlm.device), counts)
    inputs = torch.cat([prompts.input_ids[rows], ids], 1)
    attention = torch.cat([prompts.mask[rows], mask], 1)
    start = prompts.positions[:, rows].amax(dim=(0, 2)) + 1
    tail = (start[:, None] + torch.arange(ids.shape[1], device=vlm.device)).expand(3, *ids.shape)
    vision = {}
    if prompts.vision is not None:
        vision = _repeat_vision(vlm, prompts, counts.tolist())
    hidden = vlm.model.model(
        input_ids=inputs,
        attention_mask=attention,
        position_ids=torch.cat([prompts.positions[:, rows], tail], 2),
        use_cache=False,
        **vision,
    ).last_hidden_state
    start_at = prompts.input_ids.shape[1] - 1
    return token_logps(vlm, hidden[:, start_at:-1], ids, mask, temperature, entropy)


def _repeat_vision(vlm: Vlm, prompts: PromptBatch, counts: list[int]) -> dict[str, torch.Tensor]:
    assert prompts.vision is not None
    merge = vlm.processor.image_processor.merge_size
    tokens = (prompts.input_ids == vlm.model.config.image_token_id).sum(1).tolist()
    grids, pixels = prompts.vision.grid_thw, prompts.vision.pixel_values
    patches = grids.prod(1)
    out_pixels, out_grids, image, patch = [], [], 0, 0
    for need, count in zip(tokens, counts, strict=True):
        n_images = n_patches = 0
        while n_patches < need * merge**2:
            n_patches += int(patches[image + n_images])
            n_images += 1
        out_pixels += [pixels[patch : patch + n_patches]] * count
        out_grids += [grids[image : image + n_images]] * count
        image, patch = image + n_images, patch + n_patches
    return {"pixel_values": torch.cat(out_pixels), "image_grid_thw": torch.cat(out_grids)}
