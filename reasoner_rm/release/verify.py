"""Whether a release judges as its run does: both are loaded and asked about the same held-out samples."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.release.run_info import read_record
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


@dataclass(frozen=True, slots=True)
class Check:
    """``asked`` samples, the answers of which were the ``same``, word for word; ``readable`` of them could be read."""

    asked: int
    same: int
    readable: int


def check(release: str | Path, run: Path, n: int = 8, max_tokens: int = 256) -> Check:
    """Ask a release and its run the same questions, greedily.

    Args:
        release: a folder or a hub id.

    Raises:
        InputError: the release cannot be loaded, or answers anything in other words than the run.
    """
    samples = _samples(run, n)
    texts = []
    for model in (run, release):
        judge = Judge.from_pretrained(model, "transformers", max_tokens=max_tokens)
        ballots = [ballot for row in judge.ballots(samples) for ballot in row]
        texts.append([(b.completion.text, b.parsed.answer) for b in ballots])
        del judge
    mine, theirs = texts
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    if same < len(mine):
        raise InputError(
            f"the release answers {len(mine) - same} of {len(mine)} questions otherwise than its run", file=str(release)
        )
    return Check(len(mine), same, sum(answer is not None for _, answer in theirs))


def _samples(run: Path, n: int) -> list[Sample]:
    """Held-out samples of the run; where its data is gone, noise that at least has to be answered alike."""
    record = read_record(run)
    file, task = record.file("heldout"), record.card.task
    if file is not None:
        return load_samples(file)[:n]
    if PAIRWISE_TASKS.get(task) is None or PAIRWISE_TASKS[task].media != "images":
        raise InputError("the run's held-out data is gone, so nothing can be asked", file=run, remedy="restore it")
    rng = random.Random(0)
    count = 2 + PAIRWISE_TASKS[task].shared
    return [
        Sample(f"noise-{i}", task, "a red circle", images=tuple(_noise(rng) for _ in range(count))) for i in range(n)
    ]


def _noise(rng: random.Random) -> Image.Image:
    return Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3))
