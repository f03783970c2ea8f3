"""What belongs to the prompt is computed once: prefill N prompts, then continue each with as many texts as wanted.

Rollout, listener, old and new log-probabilities all stand on these three functions. The keys and values stay in
the autograd graph, so a training pass shares the prompt too: the arithmetic of the repeated form, done once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reasoner_rm.policy.prompts import PromptBatch


@dataclass(slots=True)
class Prefix:
    """Prefilled rows. ``mask`` [B, L] of cached tokens, ``next_position`` [B], ``last_hidden`` [B, D]."""

    cache: Any
    mask: torch.Tensor
    next_position: torch.Tensor
    last_hidden: torch.Tensor


def prefill(model: Any, batch: PromptBatch) -> Prefix:
    """Run N prompts with their images through the model once."""
    vision = {}
    if batch.vision is not None:
        vision = {"pixel_values": batch.vision.pixel_values, "image_grid_thw": batch.vision.grid_thw}
    out = model.model(
        input_ids=batch.input_ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=True, **vision
    )
    return Prefix(out.past_key_values, batch.mask, batch.positions.amax(dim=(0, 2)) + 1, out.last_hidden_state[:, -1])


def expand(prefix: Prefix, counts: Sequence[int]) -> Prefix:
    """Row i repeated ``counts[i]`` times. The given prefix is left as it is."""
    device = prefix.mask.device
    rows = torch.repeat_interleave(torch.arange(len(counts), device=device), torch.tensor(counts, device=device))
    cache = copy.copy(prefix.cache)
    cache.layers = [copy.copy(layer) for layer in prefix.cache.layers]
    cache.batch_select_indices(rows)
    return Prefix(cache, prefix.mask[rows], prefix.next_position[rows], prefix.last_hidden[rows])


def advance(model: Any, prefix: Prefix, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Append right-padded ``ids`` [B, C] (``mask`` [B, C]) to the prefix, in place; hidden states [B, C, D]."""
    columns = torch.arange(ids.shape[1], device=ids.device)
    positions = (prefix.next_position[:, None] + columns).expand(3, *ids.shape)
    prefix.mask = torch.cat([prefix.mask, mask], dim=1)
    hidden = model.model(
        input_ids=ids,
        attention_mask=prefix.mask,
        position_ids=positions,
        past_key_values=prefix.cache,
        use_cache=True,
    ).last_hidden_state
    prefix.next_position = prefix.next_position + ids.shape[1]
    prefix.last_hidden = hidden[:, -1]
    return hidden


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B, C] and their mask [B, C]."""
    width = max(1, *(len(row) for row in rows)) if rows else 1
    ids = torch.full((len(rows), width), pad, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask
