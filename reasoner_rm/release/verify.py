"""Verifying a release: the release and its run must generate the same texts for the same held-out samples."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.release.run_info import read_run_info
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


@dataclass(frozen=True, slots=True)
class Verification:
    """Counts of generated texts: ``asked`` in all, ``same`` in release and run, ``readable`` by the task's parser."""

    asked: int
    same: int
    readable: int


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
        votes = [vote for row in judge.collect_votes(samples) for vote in row]
        texts.append([(vote.completion.text, vote.parsed.answer) for vote in votes])
        del judge
    of_run, of_release = texts
    same = sum(a == b for a, b in zip(of_run, of_release, strict=True))
    if same < len(of_run):
        raise InputError(
            f"{len(of_run) - same} of {len(of_run)} texts of the release differ from the run's", file=str(release)
        )
    return Verification(len(of_run), same, sum(answer is not None for _, answer in of_release))


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
