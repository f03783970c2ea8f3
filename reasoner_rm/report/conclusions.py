"""What the figures of a run say in words: a headline, and what a careful reader would remark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reasoner_rm.report.summary import Scores, Summary
from reasoner_rm.report.words import (
    SPACE,
    artifact_name,
    measure,
    percent,
    points,
    round_percent,
    stage_name,
    stage_order,
)

Tone = Literal["good", "warn", "bad", "plain"]

WELL_FORMED = 0.95
"""Below this share of well-formed completions, a remark says so."""

POSITION_BIAS = 0.05
"""How far from one half the share of verdicts for the first candidate may be before a remark says so."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence and how it is meant."""

    tone: Tone
    text: str


def headline(summary: Summary | None) -> str:
    """The whole run in one line: held-out accuracy after each stage, beside chance and the blind baseline."""
    if summary is None:
        return "No figures yet"
    scores = _after_each(summary, "heldout")
    steps = [f"{percent(s.accuracy)} after {stage_name(stage)}".replace(" ", SPACE) for stage, s in scores]
    if not steps:
        return f"No held-out {measure(summary.task)} was measured"
    beside = [] if summary.chance is None else [f"chance {round_percent(summary.chance)}"]
    if summary.blind.accuracy is not None:
        beside.append(f"blind {percent(summary.blind.accuracy)}")
    return f"Held-out {measure(summary.task)} {' → '.join(steps)}" + (f" ({', '.join(beside)})" if beside else "")


def remarks(summary: Summary | None) -> list[Remark]:
    """What the figures mean, the most important first."""
    return [] if summary is None else [*_change(summary), *_against_guessing(summary), *_habits(summary)]


def _change(summary: Summary) -> Iterator[Remark]:
    """Whether the last stage does better than the first."""
    name = measure(summary.task)
    for split, place in (("heldout", f"held-out {name}"), ("ood", f"{name} out of distribution")):
        scores = _after_each(summary, split)
        if len(scores) < 2:
            continue
        (first, before), (last, after) = scores[0], scores[-1]
        assert before.accuracy is not None and after.accuracy is not None
        gain = after.accuracy - before.accuracy
        apart = _apart(before, after) if gain > 0 else _apart(after, before)
        moved = "raised" if gain > 0 else "lowered" if gain < 0 else "left"
        by = f"{place} by {points(gain)}" if gain else f"{place} where it was"
        doubt = {
            True: "the 95" + SPACE + "% intervals do not overlap",
            False: "the 95" + SPACE + "% intervals overlap, so this may be chance",
            None: "there are no intervals to tell whether this is chance",
        }[apart]
        tone: Tone = "warn" if not apart else "good" if gain > 0 else "bad"
        between = f"From {stage_name(first)} to {stage_name(last)}, training {moved} {by}"
        yield Remark(tone, f"{between} ({percent(before.accuracy)} to {percent(after.accuracy)}); {doubt}.")


def _against_guessing(summary: Summary) -> Iterator[Remark]:
    """Whether the judge, and a judge that sees nothing, beat chance."""
    if summary.chance is None:
        return
    scores = _after_each(summary, "heldout")
    low = scores[-1][1].accuracy_interval[0] if scores and scores[-1][1].accuracy_interval else None
    if low is not None and low <= summary.chance:
        yield Remark("bad", f"The final {artifact_name(summary.task)} cannot be told from chance on held-out data.")
    blind = summary.blind
    if blind.accuracy_interval is not None and blind.accuracy_interval[0] > summary.chance:
        yield Remark("warn", f"Blind, it still reaches {percent(blind.accuracy)}: the text gives answers away.")


def _habits(summary: Summary) -> Iterator[Remark]:
    """Form, position bias and contradiction of the final model on held-out data."""
    scores = _after_each(summary, "heldout")
    if not scores:
        return
    before, final = scores[0][1], scores[-1][1]
    if final.well_formed is not None and final.well_formed < WELL_FORMED:
        yield Remark("warn", f"Only {percent(final.well_formed)} of its completions are well formed.")
    if final.first_position is not None and abs(final.first_position - 0.5) > POSITION_BIAS:
        yield Remark("warn", f"It prefers a position: {percent(final.first_position)} of verdicts are for the first.")
    if len(scores) > 1 and before.contradiction is not None and final.contradiction is not None:
        answers = "verdicts" if artifact_name(summary.task) == "judge" else "answers"
        fell = final.contradiction < before.contradiction
        yield Remark(
            "good" if fell else "plain",
            f"The listener contradicts {percent(final.contradiction)} of its {answers}, "
            f"after {percent(before.contradiction)} at first.",
        )


def _after_each(summary: Summary, split: str) -> list[tuple[str, Scores]]:
    """The stages with an accuracy on a split, as they ran."""
    stages = sorted(summary.stages, key=stage_order)
    found = [(stage, summary.stages[stage].get(split)) for stage in stages]
    return [(stage, scores) for stage, scores in found if scores is not None and scores.accuracy is not None]


def _apart(low: Scores, high: Scores) -> bool | None:
    """Whether two intervals leave a gap between them; None without intervals."""
    if low.accuracy_interval is None or high.accuracy_interval is None:
        return None
    return low.accuracy_interval[1] < high.accuracy_interval[0]
