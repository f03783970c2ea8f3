"""Functions of the pre-training scripts: rows of skills, phases, the loss on replies, held-out metrics, the record."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from reasoner_rm.models.group_logprobs import repeated_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.tasks.render import Prompt

END = "<|im_end|>"
PARTS = 4
"""The number of parts of a batch, each with rows of similar length: less padding, 1.7 times as fast."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question and its reply. ``given`` is the beginning of the reply, without a loss."""

    prompt: Prompt
    reply: str
    given: str = ""

    @property
    def length(self) -> int:
        """The approximate length in characters; an image counts like several words."""
        asked = sum(len(part) if isinstance(part, str) else 30 for part in self.prompt.content)
        return asked + len(self.given) + len(self.reply)


Skill = Callable[[Any, random.Random], Row]
"""Generates a row from a source (a world, a pool of images) and a random generator."""
Mixture = Mapping[Skill, int]
"""The sampling weight of each skill."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps on one mixture with one cycle of the learning rate; ``vision`` is the factor for the vision tower."""

    name: str
    skills: Mixture
    steps: int
    batch: int
    rate: float
    vision: float = 1.0


def ask(text: str, images: Sequence[Image.Image] = ()) -> Prompt:
    """A question; each image is preceded by `Image k: `."""
    content: list[str | Image.Image] = []
    for k, image in enumerate(images, start=1):
        content += [f"Image {k}: ", image, "\n"]
    content.append(text)
    return Prompt(tuple(content), tuple(not isinstance(c, str) for c in content))


def draw_rows(skills: Mixture, source: Any, rng: random.Random, n: int) -> list[Row]:
    return [skill(source, rng) for skill in rng.choices(list(skills), list(skills.values()), k=n)]


def loss_of(vlm: Vlm, encoder: PromptEncoder, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean negative log-probability of the target tokens, and which rows have all of them above probability 0.5."""
    batch = encoder.batch([encoder.encode(row.prompt) for row in rows])
    given = [vlm.tokenizer(row.given, add_special_tokens=False).input_ids for row in rows]
    learnt = [vlm.tokenizer(row.reply + END, add_special_tokens=False).input_ids for row in rows]
    out = repeated_logprobs(vlm, batch, [[g + r] for g, r in zip(given, learnt, strict=True)])
    mask = out.mask.clone()
    for i, g in enumerate(given):
        mask[i, : len(g)] = 0
    per_row = -((out.logprobs * mask).sum(1) / mask.sum(1))
    return per_row.mean(), ((out.logprobs > np.log(0.5)) | (mask == 0)).all(1)


def held_out(vlm: Vlm, encoder: PromptEncoder, skills: Iterable[Skill], unseen: Any, n: int = 200) -> dict[str, float]:
    """Share of unseen rows with all target tokens above probability 0.5, by skill."""
    figures = {}
    with torch.no_grad():
        for skill in skills:
            rng = random.Random(f"held-out/{skill.__name__}")
            right = [loss_of(vlm, encoder, [skill(unseen, rng) for _ in range(n // 2)])[1] for _ in range(2)]
            figures[skill.__name__] = round(float(torch.cat(right).float().mean()), 4)
    return figures


def train(
    vlm: Vlm,
    phases: Sequence[Phase],
    source: Any,
    unseen: Any,
    seed: int,
    *,
    every: int = 100,
    keep: Callable[[list[dict[str, Any]]], None] = lambda log: None,
) -> list[dict[str, Any]]:
    """Train on the phases in order and return the log, with the metrics of every skill on an ``unseen`` source.

    Args:
        every: steps between evaluations; after each one ``keep`` is called with the log.

    A phase's rows depend on ``source``, ``seed`` and the phase only.
    """
    encoder = PromptEncoder(vlm, cache_bytes=0)
    log: list[dict[str, Any]] = []
    began = time.time()
    skills = {skill: None for phase in phases for skill in phase.skills}
    for phase in phases:
        rng = random.Random(f"{seed}/{phase.name}")
        tower = {id(p) for p in vlm.model.model.visual.parameters()}
        parts = [[p for p in vlm.model.parameters() if (id(p) in tower) == seeing] for seeing in (False, True)]
        rates = [phase.rate, phase.rate * phase.vision]
        optimizer = torch.optim.AdamW([{"params": part} for part in parts], weight_decay=0.02, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=phase.steps, pct_start=0.1)
        for step in range(1, phase.steps + 1):
            vlm.model.train()
            optimizer.zero_grad()
            loss = _backward(vlm, encoder, draw_rows(phase.skills, source, rng, phase.batch))
            torch.nn.utils.clip_grad_norm_(vlm.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % every == 0 or step == phase.steps:
                vlm.model.eval()
                seconds = round(time.time() - began)
                figures = held_out(vlm, encoder, skills, unseen)
                log.append({"phase": phase.name, "step": step, "loss": round(loss, 4), "seconds": seconds})
                log[-1] |= figures
                print(json.dumps(log[-1]), flush=True)
                keep(log)
    return log


def _backward(vlm: Vlm, encoder: PromptEncoder, rows: list[Row]) -> float:
    """Accumulate the gradient of the rows' mean loss in parts, and return the loss."""
    rows = sorted(rows, key=lambda row: row.length)
    size, total = -(-len(rows) // PARTS), 0.0
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        loss = loss_of(vlm, encoder, part)[0] * len(part) / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def save(vlm: Vlm, out: Path, record: Mapping[str, Any]) -> None:
    """Write weights in half precision, the processor, and the record of the pre-training."""
    out.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(vlm.model).half().save_pretrained(out)
    vlm.processor.save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
