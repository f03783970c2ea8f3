"""Rejection sampling: what a model already judges right becomes SFT data, what it gets wrong becomes RL data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from reasoner_rm import distributed
from reasoner_rm.config import RejectionSamplingSection
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.sampling.votes import Order, Vote, collect_votes
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template

CHUNK = 64


@dataclass(frozen=True, slots=True)
class SplitResult:
    """``sft`` rows have their best completion as target; of a row asked in both orders, each order's. ``ties``
    counts rows whose gold names no winner; they are in neither."""

    sft: tuple[Sample, ...]
    rl: tuple[Sample, ...]
    ties: int
    pass_rates: tuple[float, ...]


def split_by_pass_rate(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    section: RejectionSamplingSection,
    *,
    seed: int,
    canvas: BoxConverter | None = None,
) -> SplitResult:
    """Sample every row ``section.num_samples`` times an order and split the rows by the share that is right. Several
    processes divide the rows; each gets the whole result.

    Args:
        canvas: converts boxes to original pixels, in which they are graded and kept; None: they are in these already.
    """
    rank, world = distributed.rank(), distributed.world_size()
    mine = range(len(samples))[rank::world]
    rows: list[tuple[int, _Row]] = []
    sampling = SamplingParams(section.temperature, section.max_completion_length)
    with tqdm(total=len(mine), desc="rejection sampling", unit="row", dynamic_ncols=True, disable=rank > 0) as bar:
        for start in range(0, len(mine), CHUNK):
            part = mine[start : start + CHUNK]
            asked = [samples[i] for i in part]
            votes = section.num_samples
            both = section.both_orders
            cards = collect_votes(engine, template, asked, votes=votes, both_orders=both, sampling=sampling, seed=seed)
            for i, sample, ballots in zip(part, asked, cards, strict=True):
                bar.update(1)
                rows.append((i, _routed(sample, ballots, section, canvas)))
    every = [row for _, row in sorted((r for some in distributed.all_gather(rows) for r in some), key=lambda r: r[0])]
    return SplitResult(
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


def _routed(
    sample: Sample, ballots: Sequence[Vote], section: RejectionSamplingSection, canvas: BoxConverter | None
) -> _Row:
    if get_task(sample.task).reference_answer(sample) is None:
        return _Row()
    stated = [canvas.text_to_original(b.completion.text, b.sample) if canvas else b.completion.text for b in ballots]
    right = [(b, text) for b, text in zip(ballots, stated, strict=True) if _right(text, b.sample)]
    rate = len(right) / len(ballots)
    best: dict[Order, tuple[Vote, str]] = {}
    for ballot, text in right:
        best_so_far = best.get(ballot.order)
        if ballot.parsed.well_formed and (best_so_far is None or _confidence(ballot) > _confidence(best_so_far[0])):
            best[ballot.order] = ballot, text
    to_sft, to_rl = route(rate, section)
    return _Row(
        tuple(dataclasses.replace(b.sample, target=text) for b, text in best.values()) if to_sft else (),
        dataclasses.replace(sample, target=None) if to_rl or (to_sft and not best) else None,
        rate,
    )


def route(rate: float, section: RejectionSamplingSection) -> tuple[bool, bool]:
    """Whether a row of this pass rate goes to SFT, and whether it goes to RL."""
    if rate >= section.sft_above:
        return True, section.route_solved == "both"
    if rate <= section.rl_below:
        return False, True
    return section.route_rest in ("both", "sft"), section.route_rest in ("both", "rl")


def _right(text: str, sample: Sample) -> bool:
    task = get_task(sample.task)
    answer = task.parse(text, sample).answer
    return answer is not None and task.grade(answer, sample) == 1.0


def _confidence(ballot: Vote) -> float:
    """The mean log-probability of the completion's tokens."""
    return sum(ballot.completion.logprobs) / max(1, len(ballot.completion.logprobs))
