"""The sift: what a model already judges right becomes SFT data, what it gets wrong becomes RL data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from reasoner_rm.config import SiftSection
from reasoner_rm.judge.ballots import Ballot, cast
from reasoner_rm.policy.canvas import Canvas
from reasoner_rm.rollout import RolloutEngine, Sampling
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template
from reasoner_rm.training import processes

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Sifted:
    """``sft`` rows carry their best completion as target. ``ties`` could not be sifted: their gold names no winner."""

    sft: tuple[Sample, ...]
    rl: tuple[Sample, ...]
    ties: int
    pass_rates: tuple[float, ...]


def sift(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    section: SiftSection,
    *,
    seed: int,
    canvas: Canvas | None = None,
) -> Sifted:
    """Sample every row ``section.samples`` times and split by the share that is right; several processes share them.

    Args:
        canvas: brings boxes to original pixels, in which they are judged and kept; without, they stand there already.
    """
    rank, world = processes.rank(), processes.size()
    mine = range(len(samples))[rank::world]
    rows: list[tuple[int, _Row]] = []
    sampling = Sampling(section.temperature, section.max_completion_length)
    with tqdm(total=len(mine), desc="sift", unit="row", dynamic_ncols=True, disable=rank > 0) as bar:
        for start in range(0, len(mine), CHUNK):
            part = mine[start : start + CHUNK]
            asked = [samples[i] for i in part]
            votes = section.samples
            cards = cast(engine, template, asked, votes=votes, both_orders=False, sampling=sampling, seed=seed)
            for i, sample, ballots in zip(part, asked, cards, strict=True):
                bar.update(1)
                rows.append((i, _sifted(sample, ballots, section, canvas)))
    every = [row for _, row in sorted((r for some in processes.everyone(rows) for r in some), key=lambda r: r[0])]
    return Sifted(
        tuple(row.sft for row in every if row.sft is not None),
        tuple(row.rl for row in every if row.rl is not None),
        sum(row.rate is None for row in every),
        tuple(row.rate for row in every if row.rate is not None),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Where one sample goes; ``rate`` None: its gold names no winner."""

    sft: Sample | None = None
    rl: Sample | None = None
    rate: float | None = None


def _sifted(sample: Sample, ballots: Sequence[Ballot], section: SiftSection, canvas: Canvas | None) -> _Row:
    if get_task(sample.task).canonical(sample) is None:
        return _Row()
    texts = [canvas.stated(b.completion.text, sample) if canvas else b.completion.text for b in ballots]
    right = [(b, text) for b, text in zip(ballots, texts, strict=True) if _right(text, sample)]
    rate = len(right) / len(ballots)
    formed = [pair for pair in right if pair[0].parsed.well_formed]
    best = max(formed, key=lambda pair: _confidence(pair[0]), default=None)
    to_sft, to_rl = where(rate, section)
    return _Row(
        dataclasses.replace(sample, target=best[1]) if to_sft and best is not None else None,
        dataclasses.replace(sample, target=None) if to_rl or (to_sft and best is None) else None,
        rate,
    )


def where(rate: float, section: SiftSection) -> tuple[bool, bool]:
    """Whether a row of this pass rate goes to SFT, and whether it goes to RL."""
    if rate >= section.sft_above:
        return True, section.solved == "both"
    if rate <= section.rl_below:
        return False, True
    return section.rest in ("both", "sft"), section.rest in ("both", "rl")


def _right(text: str, sample: Sample) -> bool:
    task = get_task(sample.task)
    answer = task.parse(text, sample).answer
    return answer is not None and task.correct(answer, sample) == 1.0


def _confidence(ballot: Ballot) -> float:
    """The mean log-probability of the completion's tokens."""
    return sum(ballot.completion.logprobs) / max(1, len(ballot.completion.logprobs))
