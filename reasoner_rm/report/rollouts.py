"""Rollouts as a report shows them: which groups, and what each completion did."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.report.gold import gold_in_words
from reasoner_rm.report.lenient_json import Row, number
from reasoner_rm.report.media import located
from reasoner_rm.schema import PAIRWISE_TASKS, ParsedCompletion, Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation

MEASURES = ("accuracy", "rec_iou", "od_map50", "od_map")
"""The rewards that know how right found boxes are, the first that was given counts."""


@dataclass(frozen=True, slots=True)
class Option:
    """One answer a listener could give: how much it believes in it, and whether gold holds it most likely."""

    name: str
    belief: float
    gold: bool


@dataclass(frozen=True, slots=True)
class Listening:
    """What a listener believed.

    ``soft`` is the first option's share of a gold that is divided between two. ``agrees`` says whether the listener
    would have given the completion's answer; None when that cannot be read.
    """

    options: tuple[Option, ...]
    option_mass: float | None
    soft: float | None
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion with its rewards. ``right`` is None when nothing could be read, or gold cannot say."""

    text: str
    parsed: ParsedCompletion
    right: bool | None
    finish_reason: str
    components: Mapping[str, float | None]
    total: float | None
    advantage: float | None
    listening: Listening | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a reader may look for."""
        found = {
            "malformed": not self.parsed.well_formed,
            "wrong": self.right is False,
            "disagrees": self.listening is not None and self.listening.agrees is False,
        }
        return tuple(kind for kind, holds in found.items() if holds)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One group: a sample and what was sampled for it.

    ``gold`` is its right answer in words.
    """

    stage: str
    step: float | None
    sample: Sample
    gold: str
    completions: tuple[Sampled, ...]

    @classmethod
    def from_row(cls, row: Row, run: Path) -> Rollout:
        """A line of `rollouts.jsonl`; images are found from the run directory.

        Raises:
            InputError, KeyError, TypeError, ValueError, AttributeError: the row has another shape.
        """
        sample = located(sample_from_dict(row["sample"]), run)
        get_task(sample.task).validate(sample)
        return cls(
            stage=str(row.get("stage", "")),
            step=number(row.get("step")),
            sample=sample,
            gold=gold_in_words(sample),
            completions=tuple(_sampled(c, sample) for c in row["completions"]),
        )


def sections(total: int, limit: int) -> list[range]:
    """Which lines to show: the first, some from the middle and the last; all of them when they are few.

    >>> chapters(100, 6), chapters(5, 6)
    ([range(0, 2), range(49, 51), range(98, 100)], [range(0, 1), range(1, 3), range(3, 5)])
    """
    if total <= limit:
        cuts = [0, total // 3, 2 * total // 3, total]
        return [range(a, b) for a, b in itertools.pairwise(cuts)]
    size = limit // 3
    return [range(start, start + size) for start in (0, (total - size) // 2, total - size)]


def bar_scales(completions: Sequence[Sampled]) -> dict[str, float]:
    """The value that fills a component's bar: its largest, and at least 1."""
    scales: dict[str, float] = {}
    for completion in completions:
        for name, value in completion.components.items():
            scales[name] = max(scales.get(name, 1.0), abs(value or 0.0))
    return scales


def _sampled(row: Row, sample: Sample) -> Sampled:
    task, text = get_task(sample.task), str(row["text"])
    parsed = task.parse(text, sample)
    well_formed = bool(row.get("well_formed", parsed.well_formed))
    components = {name: number(value) for name, value in (row.get("components") or {}).items()}
    correct = None if parsed.answer is None else task.grade(parsed.answer, sample)
    if isinstance(task, Localisation) and parsed.answer is not None:  # a rollout does not say where its boxes live
        correct = next((components[name] for name in MEASURES if name in components), None)
    return Sampled(
        text=text,
        parsed=dataclasses.replace(
            parsed, well_formed=well_formed, parse_error=str(row.get("parse_error") or parsed.parse_error)
        ),
        right=None if correct is None else correct >= 0.5,
        finish_reason=str(row.get("finish_reason") or ""),
        components=components,
        total=number(row.get("total")),
        advantage=number(row.get("advantage")),
        listening=_listening(row["belief"], sample, parsed) if row.get("belief") else None,
    )


def _listening(row: Row, sample: Sample, parsed: ParsedCompletion) -> Listening:
    task = get_task(sample.task)
    beliefs = [float(p) for p in row["probs"]]
    names = [
        f"{PAIRWISE_TASKS[sample.task].noun} {o}" if sample.task in PAIRWISE_TASKS else str(o) for o in row["options"]
    ]
    choice = None if parsed.answer is None else task.option_index(parsed.answer, sample)
    gold = task.gold_probs(sample) or (0.0,) * len(beliefs)
    best = max(gold) if task.reference_answer(sample) else None
    return Listening(
        options=tuple(Option(n, b, g == best) for n, b, g in zip(names, beliefs, gold, strict=True)),
        option_mass=number(row.get("option_mass")),
        soft=gold[0] if len(gold) == 2 and 0 < gold[0] < 1 else None,
        agrees=None if choice is None else choice == beliefs.index(max(beliefs)),
    )
