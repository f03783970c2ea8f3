"""Rules that keep or drop samples: preference margin, length balance, scores in meta, new prompt text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reasoner_rm.data.hashes import shingles
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a filter; None: no rule.

    Attributes:
        min_margin: the least margin of a preference, |2·p_first − 1|, 0 to 1; other tasks pass.
        max_length_ratio: how many times longer than the rejected answer the preferred one may be, in characters.
        at_least: fields of meta or gold (confidence, judge_score, judge_margin, …) with their lowest value;
            a sample without the field is dropped.
        max_per_group: samples of one group.
        min_new: the least share of a prompt's word 3-grams that are in no kept prompt, 0 to 1.
        tasks: only these.
    """

    min_margin: float | None = None
    max_length_ratio: float | None = None
    at_least: tuple[tuple[str, float], ...] = ()
    max_per_group: int | None = None
    min_new: float | None = None
    tasks: tuple[str, ...] = ()


def apply_rules(samples: Iterable[Sample], rules: Rules) -> Iterator[Sample | str]:
    """Kept samples, and in place of each dropped one the rule that it violates."""
    groups: Counter[str] = Counter()
    known: set[int] = set()
    for task in rules.tasks:
        get_task(task)
    for sample in samples:
        broken = _broken(sample, rules)
        if not broken and rules.max_per_group is not None and groups[sample.group_id] >= rules.max_per_group:
            broken = f"more than {rules.max_per_group} of its group"
        runs = shingles(sample.prompt, 3) if rules.min_new is not None and not broken else set()
        if runs and len(runs - known) < (rules.min_new or 0) * len(runs):
            broken = "its prompt has too few new words"
        if broken:
            yield broken
            continue
        groups[sample.group_id] += 1
        known |= runs
        yield sample


def _broken(sample: Sample, rules: Rules) -> str:
    """The first rule that a sample violates by itself; empty if none."""
    if rules.tasks and sample.task not in rules.tasks:
        return "another task"
    p = _p_first(sample)
    if rules.min_margin is not None and p is not None and abs(2 * p - 1) < rules.min_margin:
        return "its margin is small"
    if rules.max_length_ratio is not None and p is not None and p != 0.5 and len(sample.responses) == 2:
        chosen, rejected = sample.responses if p > 0.5 else reversed(sample.responses)
        if len(chosen) > rules.max_length_ratio * max(1, len(rejected)):
            return "the better answer is much longer"
    for name, low in rules.at_least:
        value = sample.meta.get(name, sample.gold.get(name))
        if not isinstance(value, (int, float)) or math.isnan(value):
            return f"no {name}"
        if value < low:
            return f"{name} below {low:g}"
    return ""


def _p_first(sample: Sample) -> float | None:
    match sample.gold:
        case {"p_first": int() | float() as p}:
            return float(p)
        case {"ranks": [int() | float() as one, int() | float() as two]}:
            return 0.5 if one == two else float(one < two)
    return None


def at_least_of(texts: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Pairs from `NAME=VALUE`.

    Raises:
        InputError: one that is none.
    """
    found = []
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found.append((name, float(value)))
            if math.isnan(found[-1][1]):
                raise ValueError
        except ValueError:
            raise InputError(f"{text!r} is no NAME=VALUE", remedy="such as confidence=0.9") from None
    return tuple(found)
