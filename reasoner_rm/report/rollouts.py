"""Recorded rollouts as the report shows them: groups of completions with rewards, advantages and listener beliefs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.report.formatting import gold_text
from reasoner_rm.report.lenient_json import Row, number
from reasoner_rm.report.media import resolve_media
from reasoner_rm.schema import PAIRWISE_TASKS, ParsedCompletion, Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation

BOX_REWARDS = ("accuracy", "rec_iou", "od_map50", "od_map")
"""Rewards that measure predicted boxes; the first one recorded says whether a completion is correct."""


@dataclass(frozen=True, slots=True)
class OptionBelief:
    """One option with the listener's probability; ``gold`` says whether the label gives it the most probability."""

    name: str
    belief: float
    gold: bool


@dataclass(frozen=True, slots=True)
class ListenerBelief:
    """A listener's belief over the options.

    ``soft_gold`` is the first option's probability in a soft label of two options. ``agrees`` says whether the
    listener's most likely option is the completion's answer; None when the answer cannot be read.
    """

    options: tuple[OptionBelief, ...]
    option_mass: float | None
    soft_gold: float | None
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class RecordedCompletion:
    """One completion with its rewards. ``right`` is None when it has no readable answer or the gold label is a tie."""

    text: str
    parsed: ParsedCompletion
    right: bool | None
    finish_reason: str
    components: Mapping[str, float | None]
    total: float | None
    advantage: float | None
    belief: ListenerBelief | None

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags by which the page filters completions."""
        flags = {
            "malformed": not self.parsed.well_formed,
            "wrong": self.right is False,
            "disagrees": self.belief is not None and self.belief.agrees is False,
        }
        return tuple(flag for flag, holds in flags.items() if holds)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One group: a sample and its completions; ``gold`` is the gold label as text."""

    stage: str
    step: float | None
    sample: Sample
    gold: str
    completions: tuple[RecordedCompletion, ...]

    @classmethod
    def from_row(cls, row: Row, run: Path) -> Rollout:
        """A line of `rollouts.jsonl`; media references are relative to the run directory.

        Raises:
            InputError, KeyError, TypeError, ValueError, AttributeError: the row has another shape.
        """
        sample = resolve_media(sample_from_dict(row["sample"]), run)
        get_task(sample.task).validate(sample)
        return cls(
            stage=str(row.get("stage", "")),
            step=number(row.get("step")),
            sample=sample,
            gold=gold_text(sample),
            completions=_recorded_completions(row["completions"], sample),
        )


def section_ranges(total: int, limit: int) -> list[range]:
    """Which lines to show, as three ranges: the first, the middle and the last ones; all of them up to ``limit``.

    >>> section_ranges(100, 6), section_ranges(5, 6)
    ([range(0, 2), range(49, 51), range(98, 100)], [range(0, 1), range(1, 3), range(3, 5)])
    """
    if total <= limit:
        cuts = [0, total // 3, 2 * total // 3, total]
        return [range(a, b) for a, b in itertools.pairwise(cuts)]
    size = limit // 3
    return [range(start, start + size) for start in (0, (total - size) // 2, total - size)]


def bar_scales(completions: Sequence[RecordedCompletion]) -> dict[str, float]:
    """The value at which a component's bar is full: the largest absolute value, at least 1."""
    scales: dict[str, float] = {}
    for completion in completions:
        for name, value in completion.components.items():
            scales[name] = max(scales.get(name, 1.0), abs(value or 0.0))
    return scales


def _recorded_completions(rows: Sequence[Row], sample: Sample) -> tuple[RecordedCompletion, ...]:
    task = get_task(sample.task)
    parsed = [task.parse(str(row["text"]), sample) for row in rows]
    graded = zip(rows, parsed, task.grades(parsed, sample), strict=True)
    return tuple(_recorded_completion(row, sample, p, grade) for row, p, grade in graded)


def _recorded_completion(
    row: Row, sample: Sample, parsed: ParsedCompletion, correct: float | None
) -> RecordedCompletion:
    task, text = get_task(sample.task), str(row["text"])
    well_formed = bool(row.get("well_formed", parsed.well_formed))
    components = {name: number(value) for name, value in (row.get("components") or {}).items()}
    if isinstance(task, Localisation) and parsed.answer is not None:  # the boxes' coordinate space is not recorded
        correct = next((components[name] for name in BOX_REWARDS if name in components), None)
    return RecordedCompletion(
        text=text,
        parsed=dataclasses.replace(
            parsed, well_formed=well_formed, parse_error=str(row.get("parse_error") or parsed.parse_error)
        ),
        right=None if correct is None else correct >= 0.5,
        finish_reason=str(row.get("finish_reason") or ""),
        components=components,
        total=number(row.get("total")),
        advantage=number(row.get("advantage")),
        belief=_listener_belief(row["belief"], sample, parsed) if row.get("belief") else None,
    )


def _listener_belief(row: Row, sample: Sample, parsed: ParsedCompletion) -> ListenerBelief:
    task = get_task(sample.task)
    beliefs = [float(p) for p in row["probs"]]
    names = [
        f"{PAIRWISE_TASKS[sample.task].noun} {o}" if sample.task in PAIRWISE_TASKS else str(o) for o in row["options"]
    ]
    choice = None if parsed.answer is None else task.option_index(parsed.answer, sample)
    gold = task.gold_probs(sample) or (0.0,) * len(beliefs)
    best = max(gold) if task.reference_answer(sample) else None
    return ListenerBelief(
        options=tuple(OptionBelief(n, b, g == best) for n, b, g in zip(names, beliefs, gold, strict=True)),
        option_mass=number(row.get("option_mass")),
        soft_gold=gold[0] if len(gold) == 2 and 0 < gold[0] < 1 else None,
        agrees=None if choice is None else choice == beliefs.index(max(beliefs)),
    )
