"""Verifying a release: the release and its run must generate the same texts for the same held-out samples, and plain
transformers, with the release's own settings, the same as these."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.release.run_info import read_run_info
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks.render import Prompt, render
from reasoner_rm.utils.progress import working

PLAIN = 4
"""How many texts plain transformers writes again; it reads prompts one by one."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Counts of generated texts: ``asked`` in all, ``same`` in release and run, ``readable`` by the task's parser; and
    ``plain_same`` of ``plain_asked`` that transformers' own `generate` wrote as well. In half precision its kernels
    round otherwise, and a text may differ."""

    asked: int
    same: int
    readable: int
    plain_asked: int
    plain_same: int


def verify(release: str | Path, run: Path, n: int = 8, max_tokens: int = 256) -> Verification:
    """Generate greedily with a release and with its run on the same samples, and compare the texts.

    Args:
        release: a folder or a hub id.

    Raises:
        InputError: the release cannot be loaded, or a text differs from the run's.
    """
    samples = _samples(run, n)
    texts = []
    for model in (run, release):
        judge = Judge.from_pretrained(model, "transformers", max_tokens=max_tokens)
        with working(f"checking the texts of {model}"):
            votes = [vote for row in judge.collect_votes(samples) for vote in row]
        texts.append([(vote.completion.text, vote.parsed.answer) for vote in votes])
        template, dtype = judge.template(samples[0].task), judge.engine.engine.vlm.model.dtype  # type: ignore[attr-defined]
        del judge
    of_run, of_release = texts
    checked = votes[:PLAIN]
    with working("checking the texts of transformers' own generate"):
        plain = _plain_tokens(release, [render(vote.sample, template) for vote in checked], max_tokens, dtype)
    same = sum(a == b for a, b in zip(of_run, of_release, strict=True))
    if same < len(of_run):
        raise InputError(
            f"{len(of_run) - same} of {len(of_run)} texts of the release differ from the run's", file=str(release)
        )
    return Verification(
        len(of_run),
        same,
        sum(answer is not None for _, answer in of_release),
        len(checked),
        sum(vote.completion.token_ids == tokens for vote, tokens in zip(checked, plain, strict=True)),
    )


def _plain_tokens(release: str | Path, prompts: Sequence[Prompt], max_tokens: int, dtype: Any) -> list[tuple[int, ...]]:
    """What `generate` makes of each prompt, with the release's own processor, chat template and settings."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(release)
    model = AutoModelForImageTextToText.from_pretrained(release, dtype=dtype)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    for prompt in prompts:
        text = processor.apply_chat_template(prompt.messages(), add_generation_prompt=True, tokenize=False)
        images = [open_image(ref) for ref in prompt.images]
        inputs = processor(text=[text], images=images or None, return_tensors="pt").to(model.device)
        tokens = model.generate(**inputs, max_new_tokens=max_tokens)
        found.append(tuple(tokens[0, inputs["input_ids"].shape[1] :].tolist()))
    return found


def _samples(run: Path, n: int) -> list[Sample]:
    """Held-out samples of the run; if the file no longer exists, comparisons of noise images."""
    info = read_run_info(run)
    file, task = info.file("heldout"), info.judge.task
    if file is not None:
        return load_samples(file)[:n]
    if PAIRWISE_TASKS.get(task) is None or PAIRWISE_TASKS[task].media != "images":
        raise InputError(
            "the run's held-out data no longer exists, so the release cannot be verified", file=run, remedy="restore it"
        )
    rng = random.Random(0)
    count = 2 + PAIRWISE_TASKS[task].shared
    return [
        Sample(f"noise-{i}", task, "a red circle", images=tuple(_noise(rng) for _ in range(count))) for i in range(n)
    ]


def _noise(rng: random.Random) -> Image.Image:
    return Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3))
