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
from reasoner_rm.utils.progress import redrawn

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
    box_converter: BoxConverter | None = None,
) -> SplitResult:
    """Sample every row ``section.num_samples`` times an order and split the rows by the share that is right. Several
    processes divide the rows; each gets the whole result.

    Args:
        box_converter: converts boxes to original pixels, in which they are graded and kept; None: no conversion.
    """
    rank, world = distributed.rank(), distributed.world_size()
    mine = range(len(samples))[rank::world]
    rows: list[tuple[int, _Row]] = []
    sampling = SamplingParams(section.temperature, section.max_completion_length)
    bar = tqdm(total=len(mine), desc="rejection sampling", unit="row", dynamic_ncols=True, disable=rank > 0)
    with bar, redrawn(bar):
        for start in range(0, len(mine), CHUNK):
            part = mine[start : start + CHUNK]
            chunk = [samples[i] for i in part]
            votes = collect_votes(
                engine, template, chunk, votes=section.num_samples, both_orders=section.both_orders, sampling=sampling,
                seed=seed,
            )  # fmt: skip
            for i, sample, row_votes in zip(part, chunk, votes, strict=True):
                bar.update(1)
                rows.append((i, _routed(sample, row_votes, section, box_converter)))
    gathered = [row for rank_rows in distributed.all_gather(rows) for row in rank_rows]
    every = [row for _, row in sorted(gathered, key=lambda row: row[0])]
    return SplitResult(
        tuple(sample for row in every for sample in row.sft),
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
    sample: Sample, votes: Sequence[Vote], section: RejectionSamplingSection, box_converter: BoxConverter | None
) -> _Row:
    if get_task(sample.task).reference_answer(sample) is None:
        return _Row()
    convert = box_converter.text_to_original if box_converter else lambda text, sample: text
    texts = [convert(vote.completion.text, vote.sample) for vote in votes]
    right = _right(votes, texts)
    rate = len(right) / len(votes)
    best: dict[Order, tuple[Vote, str]] = {}
    for vote, text in right:
        best_so_far = best.get(vote.order)
        if vote.parsed.well_formed and (best_so_far is None or _confidence(vote) > _confidence(best_so_far[0])):
            best[vote.order] = vote, text
    to_sft, to_rl = route(rate, section)
    return _Row(
        tuple(dataclasses.replace(vote.sample, target=text) for vote, text in best.values()) if to_sft else (),
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


def _right(votes: Sequence[Vote], texts: Sequence[str]) -> list[tuple[Vote, str]]:
    """The votes whose answers are entirely right, with their texts; the votes of one order are graded together."""
    right: list[tuple[Vote, str]] = []
    for order in dict.fromkeys(vote.order for vote in votes):
        shown = [(vote, text) for vote, text in zip(votes, texts, strict=True) if vote.order == order]
        sample = shown[0][0].sample
        task = get_task(sample.task)
        answers = [task.parse(text, sample).answer for _, text in shown]
        answered = [pair for pair, answer in zip(shown, answers, strict=True) if answer is not None]
        grades = task.grade_all([(answer, sample) for answer in answers if answer is not None])
        right += [pair for pair, grade in zip(answered, grades, strict=True) if grade == 1.0]
    return right


def _confidence(vote: Vote) -> float:
    """The mean log-probability of the completion's tokens."""
    return sum(vote.completion.logprobs) / max(1, len(vote.completion.logprobs))
