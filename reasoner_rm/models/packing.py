"""Forward passes over groups, in two forms that give the same states.

Packed: several groups in one row, first all prompts, then all continuations, so that each prompt is computed once.
Positions restart after the prompt for every continuation, which attends to its prompt and itself. Repeated: one row per
continuation with its own copy of prompt and images, the usual form; the reference for tests, and the form for models
whose attention does not support packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor

from reasoner_rm.models.attention import PackedAttention
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptBatch
from reasoner_rm.models.vision_cache import vision_keywords
from reasoner_rm.schema import VisionInputs

Continuations: TypeAlias = Sequence[Sequence[Sequence[int]]]
"""For each of N prompts its G continuations as token ids; ragged, and any of them may be empty."""


@dataclass(frozen=True, slots=True)
class ContinuationStates:
    """The last layer's ``hidden`` states [L, D] of a pass, and the rows of each continuation.

    ``predict_positions``: the rows that predict its n tokens and the token after them, n + 1 per continuation, in
    order; ``last`` [continuations]: the last of them.
    """

    hidden: Tensor
    predict_positions: Tensor
    last: Tensor


def forward_groups(vlm: Vlm, prompts: PromptBatch, continuations: Continuations) -> ContinuationStates:
    """One forward pass over N groups, packed where the model supports it."""
    return (run_packed if vlm.family.supports_packing else forward_repeated)(vlm, prompts, continuations)


def run_packed(vlm: Vlm, prompts: PromptBatch, continuations: Continuations) -> ContinuationStates:
    """One row: each prompt, and each distinct image, computed once."""
    device, lengths = vlm.device, prompts.lengths
    flat = [c for group in continuations for c in group]
    after = (prompts.positions * prompts.mask).amax(dim=(0, 2)).add(1).tolist()
    starts = [start for start, group in zip(after, continuations, strict=True) for _ in group]
    text = torch.cat([torch.arange(start, start + len(c)) for start, c in zip(starts, flat, strict=True)])
    ids = torch.tensor([token for c in flat for token in c], dtype=torch.long).to(device)
    own = prompts.mask.bool()
    hidden = vlm.model.model(
        input_ids=torch.cat([prompts.input_ids[own], ids])[None],
        position_ids=torch.cat([prompts.positions[:, own], text.to(device).expand(3, -1)], 1)[:, None],
        use_cache=False,
        groups=PackedAttention(lengths, [[len(c) for c in group] for group in continuations], device),
        **vision_keywords(prompts.vision),
    ).last_hidden_state[0]
    predict_positions, start = list[Tensor](), sum(lengths)
    for end, group in zip(accumulate(lengths), continuations, strict=True):
        for c in group:
            predict_positions += [torch.tensor([end - 1]), torch.arange(start, start + len(c))]
            start += len(c)
    return _states(hidden, torch.cat(predict_positions), continuations)


def forward_repeated(vlm: Vlm, prompts: PromptBatch, continuations: Continuations) -> ContinuationStates:
    """One row per continuation, prompts left-padded and continuations right-padded."""
    device = vlm.device
    ids, mask = pad_right([c for group in continuations for c in group], vlm.tokenizer.pad_token_id, device)
    counts = torch.tensor([len(group) for group in continuations], device=device)
    rows = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    start = prompts.positions[:, rows].amax(dim=(0, 2)) + 1
    tail = (start[:, None] + torch.arange(ids.shape[1], device=device)).expand(3, *ids.shape)
    hidden = vlm.model.model(
        input_ids=torch.cat([prompts.input_ids[rows], ids], 1),
        attention_mask=torch.cat([prompts.mask[rows], mask], 1),
        position_ids=torch.cat([prompts.positions[:, rows], tail], 2),
        use_cache=False,
        **vision_keywords(repeat_vision(prompts, counts.tolist())),
    ).last_hidden_state
    width, prompt = hidden.shape[1], prompts.input_ids.shape[1]
    lengths = mask.sum(1).tolist()
    predict_positions = [torch.arange(n + 1) + row * width + prompt - 1 for row, n in enumerate(lengths)]
    return _states(hidden.flatten(0, 1), torch.cat(predict_positions), continuations)


def _states(hidden: Tensor, predict_positions: Tensor, continuations: Continuations) -> ContinuationStates:
    ends = torch.tensor([len(c) + 1 for group in continuations for c in group]).cumsum(0) - 1
    return ContinuationStates(hidden, predict_positions.to(hidden.device), predict_positions[ends].to(hidden.device))


def repeat_vision(prompts: PromptBatch, counts: Sequence[int]) -> VisionInputs | None:
    """The images of each prompt repeated ``counts`` times."""
    vision = prompts.vision
    if vision is None:
        return None
    pixels = vision.pixel_values.split(vision.grid_thw.prod(1).tolist())
    order = list(range(len(pixels))) if vision.order is None else vision.order.tolist()
    repeated: list[int] = []
    at = 0
    for images, count in zip(prompts.images_per_prompt, counts, strict=True):
        repeated += order[at : at + images] * count
        at += images
    return VisionInputs(torch.cat([pixels[i] for i in repeated]), vision.grid_thw[repeated])


def pad_right(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids [B, C] and their mask [B, C]."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), width), pad, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask
