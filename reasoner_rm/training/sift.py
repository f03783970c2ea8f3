"""The sift: what a model already judges right becomes SFT data, what it gets wrong becomes RL data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from reasoner_rm import processes
from reasoner_rm.config import SiftSection
from reasoner_rm.judge.ballots import Ballot, Order, cast
from reasoner_rm.policy.canvas import Canvas
from reasoner_rm.rollout import RolloutEngine, Sampling
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Sifted:
    """``sft`` rows carry their best completion as target; of a row asked in both orders, each order's. ``ties`` could
    not be sifted: their gold names no winner."""

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
    """Sample every row ``section.samples`` times an order and split by the share that is right; several processes
    share them.

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
            both = section.both_orders
            cards = cast(engine, template, asked, votes=votes, both_orders=both, sampling=sampling, seed=seed)
            for i, sample, ballots in zip(part, asked, cards, strict=True):
                bar.update(1)
                rows.append((i, _sifted(sample, ballots, section, canvas)))
    every = [row for _, row in sorted((r for some in processes.everyone(rows) for r in some), key=lambda r: r[0])]
    return Sifted(
        tuple(learnt for row in every for learnt in row.sft),
        tuple(row.rl for row in every if row.rl is not None),
        sum(row.rate is None for row in every),
        tuple(row.rate for row in every if row.rate is not None),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Where one sample goes, to SFT once in each order; ``rate`` None: its gold names no winner."""

    sft: tuple[Sample, ...] = ()
    rl: Sample | None = None
    rate: float | None = None


def _sifted(sample: Sample, ballots: Sequence[Ballot], section: SiftSection, canvas: Canvas | None) -> _Row:
    if get_task(sample.task).canonical(sample) is None:
        return _Row()
    stated = [canvas.stated(b.completion.text, b.sample) if canvas else b.completion.text for b in ballots]
    right = [(b, text) for b, text in zip(ballots, stated, strict=True) if _right(text, b.sample)]
    rate = len(right) / len(ballots)
    best: dict[Order, tuple[Ballot, str]] = {}
    for ballot, text in right:
        surest = best.get(ballot.order)
        if ballot.parsed.well_formed and (surest is None or _confidence(ballot) > _confidence(surest[0])):
            best[ballot.order] = ballot, text
    to_sft, to_rl = where(rate, section)
    return _Row(
        tuple(dataclasses.replace(b.sample, target=text) for b, text in best.values()) if to_sft else (),
        dataclasses.replace(sample, target=None) if to_rl or (to_sft and not best) else None,
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
