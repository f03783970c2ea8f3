"""Per-token log-probabilities of groups: log_softmax(logits / T) with banned tokens at minus infinity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.packing import run_packed
from reasoner_rm.policy.prompts import PromptBatch
from reasoner_rm.policy.vision import vision_keywords
from reasoner_rm.schema import VisionInputs

LOGITS = 2**25
"""How many logits may exist at once (128 MB in fp32). Where a batch has more, the head runs in parts, and again in the
backward pass."""


@dataclass(frozen=True, slots=True)
class GroupLogps:
    """``logps`` and ``mask`` [B, C], B = all completions of all groups in order; ``entropy`` [B, C] on request."""

    logps: Tensor
    mask: Tensor
    entropy: Tensor | None = None


def shared_prefix_logps(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Sequence[Sequence[Sequence[int]]],
    temperature: float = 1.0,
    entropy: bool = False,
) -> GroupLogps:
    """Log-probabilities of N ragged groups in one packed row: each prompt, and each distinct image, computed once.

    Args:
        prompts: the N prompts.
        completions: for each prompt its G_i completions as token ids; lengths may differ.
    """
    row = run_packed(vlm, prompts, [[c[:-1] for c in group] for group in completions])
    return _ragged(vlm, row.hidden[row.before()], [c for group in completions for c in group], temperature, entropy)


def repeated_logps(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Sequence[Sequence[Sequence[int]]],
    temperature: float = 1.0,
    entropy: bool = False,
) -> GroupLogps:
    """The same numbers the usual way: every completion with its own copy of prompt and images.

    The reference for tests, and the form for architectures that the packed one does not know.
    """
    device = vlm.device
    flat = [c for group in completions for c in group]
    ids, mask = pad_right(flat, vlm.tokenizer.pad_token_id, device)
    counts = torch.tensor([len(group) for group in completions], device=device)
    rows = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    start = prompts.positions[:, rows].amax(dim=(0, 2)) + 1
    tail = (start[:, None] + torch.arange(ids.shape[1], device=device)).expand(3, *ids.shape)
    hidden = vlm.model.model(
        input_ids=torch.cat([prompts.input_ids[rows], ids], 1),
        attention_mask=torch.cat([prompts.mask[rows], mask], 1),
        position_ids=torch.cat([prompts.positions[:, rows], tail], 2),
        use_cache=False,
        **vision_keywords(_repeat_vision(prompts, counts.tolist())),
    ).last_hidden_state[:, prompts.input_ids.shape[1] - 1 : -1]
    return _ragged(vlm, hidden[mask.bool()], flat, temperature, entropy)


def processed_logits(head: Any, hidden: Tensor, banned: Sequence[int], temperature: float) -> Tensor:
    """What is sampled from: fp32 logits over T, banned tokens at minus infinity. [..., V]"""
    logits = head(hidden).float()
    if temperature != 1.0:
        logits = logits / temperature
    logits[..., list(banned)] = -torch.inf
    return logits


def token_logps(
    vlm: Vlm, hidden: Tensor, ids: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [T] of ``ids`` [T] under ``hidden`` [T, D], the states one position before each; their
    distributions' entropies [T], which bear no gradient."""
    size = max(1, LOGITS // vlm.model.lm_head.out_features)

    def part(states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = processed_logits(vlm.model.lm_head, states, vlm.banned, temperature)
        norm = logits.logsumexp(-1)
        spread = None
        if entropy:
            with torch.no_grad():
                probs = (logits - norm[:, None]).exp_()
                spread = norm - torch.einsum("tv,tv->t", probs, logits.masked_fill(probs == 0, 0.0))
        return logits.gather(-1, chosen[:, None])[:, 0] - norm, spread

    if len(ids) <= size:
        return part(hidden, ids)
    again = torch.is_grad_enabled()
    parts = [
        checkpoint(part, h, i, use_reentrant=False) if again else part(h, i)
        for h, i in zip(hidden.split(size), ids.split(size), strict=True)
    ]
    return torch.cat([p for p, _ in parts]), torch.cat([s for _, s in parts]) if entropy else None  # type: ignore[misc]


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids [B, C] and their mask [B, C]."""
    width = max(1, *(len(row) for row in rows)) if rows else 1
    ids = torch.full((len(rows), width), pad, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask


def _ragged(vlm: Vlm, hidden: Tensor, rows: Sequence[Sequence[int]], temperature: float, entropy: bool) -> GroupLogps:
    """Log-probabilities of ragged rows from the states before their tokens [T, D], row after row."""
    ids, mask = pad_right(rows, vlm.tokenizer.pad_token_id, vlm.device)
    kept = mask.bool()
    logps, spread = token_logps(vlm, hidden, ids[kept], temperature, entropy)

    def padded(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(kept, values)

    return GroupLogps(padded(logps), mask, None if spread is None else padded(spread))


def _repeat_vision(prompts: PromptBatch, counts: Sequence[int]) -> VisionInputs | None:
    """The images of each prompt as often as it has completions, pixels and all."""
    vision = prompts.vision
    if vision is None:
        return None
    pixels = vision.pixel_values.split(vision.grid_thw.prod(1).tolist())
    order = list(range(len(pixels))) if vision.order is None else vision.order.tolist()
    repeated: list[int] = []
    at = 0
    for shown, count in zip(prompts.shown, counts, strict=True):
        repeated += order[at : at + shown] * count
        at += shown
    return VisionInputs(torch.cat([pixels[i] for i in repeated]), vision.grid_thw[repeated])
