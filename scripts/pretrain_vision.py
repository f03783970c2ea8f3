"""Pre-trains a vision tower before the language model is attached, as is done for real models.

A temporary probe attends to the tower's tokens. For given points of an image it predicts colour, shape and size of the
object there (or that there is none) and the extent of its box. Each image has several query points and no text is
generated, which makes the training fast. The probe gets no positions of the tokens: the tokens themselves must encode
them, as the language model needs.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import COLOURS, SHAPES, SIZES
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder, batch_images

KINDS = (COLOURS, SHAPES, SIZES)
POINTS = 6
"""The number of queried points per image."""


@dataclass(frozen=True, slots=True)
class Points:
    """What stands where in N images: ``at`` [N, Q, 2] in 0..1; ``kinds`` [N, Q, 3], each a word's index plus one, 0
    for nothing there; ``reach`` [N, Q, 4] from the point to the box's sides in image sides, left and up negative."""

    at: torch.Tensor
    kinds: torch.Tensor
    reach: torch.Tensor


class Probe(nn.Module):
    """A probe that predicts from visual tokens [N, T, D] at points [N, Q, 2]."""

    def __init__(self, width: int):
        super().__init__()
        self.where = nn.Sequential(
            nn.Linear(2, 64), nn.GELU(), nn.Linear(64, width), nn.GELU(), nn.Linear(width, width)
        )
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.think = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.heads = nn.ModuleList(nn.Linear(2 * width, len(words) + 1) for words in KINDS)
        self.box = nn.Linear(2 * width, 4)

    def forward(self, tokens: torch.Tensor, at: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        asked = self.where(at * 2 - 1)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        found = self.think(asked + self.look(asked, tokens, tokens)[0])
        return [head(found) for head in self.heads], self.box(found)


def points_of(pictures: Sequence[Picture], side: int, rng: random.Random) -> Points:
    """Queries per image: two of three at an object, the others at an empty place if a cell's centre is one."""
    at, kinds, reach = [], [], []
    for picture in pictures:
        scene = picture.scene
        boxes = [[v / side for v in picture.box(i, side)] for i in range(len(scene.things))]
        centres = [(i + 0.5) / scene.grid for i in range(scene.grid)]
        free = [
            [x, y]
            for x in centres
            for y in centres
            if not any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in boxes)
        ]
        for _ in range(POINTS):
            if free and rng.random() < 1 / 3:
                at.append(rng.choice(free))
                kinds.append([0, 0, 0])
                reach.append([0.0] * 4)
                continue
            index = rng.randrange(len(scene.things))
            thing, box = scene.things[index], boxes[index]
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            x, y = x + 0.04 * rng.uniform(-1, 1), y + 0.04 * rng.uniform(-1, 1)
            at.append([x, y])
            words = zip(KINDS, (thing.colour, thing.shape, thing.size), strict=True)
            kinds.append([known.index(word) + 1 for known, word in words])
            reach.append([box[0] - x, box[1] - y, box[2] - x, box[3] - y])
    shape = (len(pictures), POINTS, -1)
    return Points(*(torch.tensor(values).reshape(shape) for values in (at, kinds, reach)))


def train_vision(
    vlm: Vlm,
    draw: Callable[[random.Random], Picture],
    unseen: Callable[[random.Random], Picture],
    side: int,
    seed: int,
    *,
    steps: int,
    batch: int = 192,
    rate: float = 2e-3,
) -> list[dict[str, Any]]:
    """Train the tower in place and return the log, with the accuracy of colour, shape and size on unseen objects."""
    torch.manual_seed(seed)
    tower, encoder = vlm.model.model.visual, PromptEncoder(vlm, cache_bytes=0)
    probe = Probe(vlm.model.config.text_config.hidden_size)
    weights = [*tower.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)

    def look(pictures: Sequence[Picture], rng: random.Random) -> tuple[Points, list[torch.Tensor], torch.Tensor]:
        asked = points_of(pictures, side, rng)
        vision = batch_images([encoder.process(p.image(side)) for p in pictures], vlm.device)
        assert vision is not None
        features = tower(vision.pixel_values.to(tower.dtype), grid_thw=vision.grid_thw)
        tokens = getattr(features, "pooler_output", features)
        return asked, *probe(tokens.reshape(len(pictures), -1, tokens.shape[-1]), asked.at)

    rng, log, began = random.Random(f"{seed}/vision"), [], time.time()
    for step in range(1, steps + 1):
        asked, logits, reach = look([draw(rng) for _ in range(batch)], rng)
        there = asked.kinds[..., :1] > 0
        losses = [F.cross_entropy(x.flatten(0, 1), asked.kinds[..., i].flatten()) for i, x in enumerate(logits)]
        loss = sum(losses) + 10 * ((reach - asked.reach).abs() * there).sum() / (4 * there.sum())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            with torch.no_grad():
                dice = random.Random("held-out/vision")
                asked, logits, reach = look([unseen(dice) for _ in range(300)], dice)
            there = asked.kinds[..., 0] > 0
            right = torch.stack([x.argmax(-1) == asked.kinds[..., i] for i, x in enumerate(logits)])
            off = (reach - asked.reach).abs()[there].mean() * side
            log.append({
                "phase": "vision", "step": step, "loss": round(loss.item(), 4), "seconds": round(time.time() - began),
                "colour": round(right[0][there].float().mean().item(), 4),
                "shape": round(right[1][there].float().mean().item(), 4),
                "size": round(right[2][there].float().mean().item(), 4),
                "whole": round(right.all(0).float().mean().item(), 4),
                "box_off_px": round(off.item(), 2),
            })  # fmt: skip
            print(json.dumps(log[-1]), flush=True)
    return log
