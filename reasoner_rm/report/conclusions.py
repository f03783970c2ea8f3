"""The metrics of a run as sentences: a headline, and remarks on change, chance level and diagnostics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reasoner_rm.report.formatting import (
    SPACE,
    artifact_name,
    metric_name,
    percent,
    percentage_points,
    round_percent,
    stage_name,
    stage_order,
)
from reasoner_rm.report.summary import SplitMetrics, Summary

Tone = Literal["good", "warn", "bad", "plain"]

MIN_WELL_FORMED = 0.95
"""A lower share of well-formed completions gets a remark."""

MAX_POSITION_BIAS = 0.05
"""A share of verdicts for the first candidate further than this from 0.5 gets a remark."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence, and the tone in which the page shows it."""

    tone: Tone
    text: str


def headline(summary: Summary | None) -> str:
    """One line: the held-out metric after each stage, with chance level and blind baseline."""
    if summary is None:
        return "No metrics yet"
    scores = _evaluated_stages(summary, "heldout")
    steps = [f"{percent(s.accuracy)} after {stage_name(stage)}".replace(" ", SPACE) for stage, s in scores]
    if not steps:
        return f"No held-out {metric_name(summary.task)} was measured"
    baselines = [] if summary.chance is None else [f"chance {round_percent(summary.chance)}"]
    if summary.blind.accuracy is not None:
        baselines.append(f"blind {percent(summary.blind.accuracy)}")
    return f"Held-out {metric_name(summary.task)} {' → '.join(steps)}" + (
        f" ({', '.join(baselines)})" if baselines else ""
    )


def remarks(summary: Summary | None) -> list[Remark]:
    """Remarks on the metrics, the most important first."""
    return [] if summary is None else [*_change(summary), *_against_chance(summary), *_diagnostics(summary)]


def _change(summary: Summary) -> Iterator[Remark]:
    """The change from the first evaluated stage to the last, per split."""
    name = metric_name(summary.task)
    for split, metric in (("heldout", f"held-out {name}"), ("ood", f"{name} out of distribution")):
        scores = _evaluated_stages(summary, split)
        if len(scores) < 2:
            continue
        (first, before), (last, after) = scores[0], scores[-1]
        assert before.accuracy is not None and after.accuracy is not None
        gain = after.accuracy - before.accuracy
        disjoint = _disjoint(before, after) if gain > 0 else _disjoint(after, before)
        verb = "raised" if gain > 0 else "lowered"
        change = f"{verb} {metric} by {percentage_points(gain)}" if gain else f"did not change {metric}"
        evidence = {
            True: "the 95" + SPACE + "% intervals do not overlap",
            False: "the 95" + SPACE + "% intervals overlap, so this may be chance",
            None: "there are no intervals to tell whether this is chance",
        }[disjoint]
        tone: Tone = "warn" if not disjoint else "good" if gain > 0 else "bad"
        stages = f"From {stage_name(first)} to {stage_name(last)}, training {change}"
        yield Remark(tone, f"{stages} ({percent(before.accuracy)} to {percent(after.accuracy)}); {evidence}.")


def _against_chance(summary: Summary) -> Iterator[Remark]:
    """Whether the final model beats chance, and whether it does so without the images."""
    if summary.chance is None:
        return
    scores = _evaluated_stages(summary, "heldout")
    low = scores[-1][1].accuracy_interval[0] if scores and scores[-1][1].accuracy_interval else None
    name, chance = metric_name(summary.task), round_percent(summary.chance)
    if low is not None and low <= summary.chance:
        artifact = artifact_name(summary.task)
        yield Remark("bad", f"Held-out {name} of the final {artifact} is not significantly above chance ({chance}).")
    blind = summary.blind
    if blind.accuracy_interval is not None and blind.accuracy_interval[0] > summary.chance:
        reached = f"With every image replaced by a grey one, {name} is still {percent(blind.accuracy)}"
        yield Remark("warn", f"{reached} (chance {chance}): the text alone predicts the label.")


def _diagnostics(summary: Summary) -> Iterator[Remark]:
    """Format, position bias and contradiction of the final model on held-out data."""
    scores = _evaluated_stages(summary, "heldout")
    if not scores:
        return
    (first, before), (_, final) = scores[0], scores[-1]
    if final.well_formed is not None and final.well_formed < MIN_WELL_FORMED:
        yield Remark("warn", f"Only {percent(final.well_formed)} of the final completions are well formed.")
    if final.first_position is not None and abs(final.first_position - 0.5) > MAX_POSITION_BIAS:
        share = percent(final.first_position)
        yield Remark("warn", f"Position bias: {share} of the final verdicts are for the first candidate.")
    if len(scores) > 1 and before.contradiction is not None and final.contradiction is not None:
        answers = "verdicts" if artifact_name(summary.task) == "judge" else "answers"
        yield Remark(
            "good" if final.contradiction < before.contradiction else "plain",
            f"The listener, given the reasoning, contradicts {percent(final.contradiction)} of the final {answers} "
            f"({percent(before.contradiction)} after {stage_name(first)}).",
        )


def _evaluated_stages(summary: Summary, split: str) -> list[tuple[str, SplitMetrics]]:
    """The stages with a main metric on a split, in the order in which they ran."""
    stages = sorted(summary.stages, key=stage_order)
    pairs = [(stage, summary.stages[stage].get(split)) for stage in stages]
    return [(stage, scores) for stage, scores in pairs if scores is not None and scores.accuracy is not None]


def _disjoint(low: SplitMetrics, high: SplitMetrics) -> bool | None:
    """Whether the interval of ``high`` lies above that of ``low``; None without intervals."""
    if low.accuracy_interval is None or high.accuracy_interval is None:
        return None
    return low.accuracy_interval[1] < high.accuracy_interval[0]
