"""The charts of a run's evaluations: accuracy after each stage, accuracy by subgroup, reliability diagrams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from reasoner_rm.report.formatting import (
    artifact_name,
    capitalize_first,
    format_number,
    metric_name,
    percent,
    round_percent,
    split_name,
    stage_name,
    stage_order,
)
from reasoner_rm.report.summary import Reliability, SplitMetrics, Summary
from reasoner_rm.report.svg import INK, MUTED, SERIES, Plot, draw, placeholder_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLIT_COLOURS = {"heldout": SERIES[0], "ood": SERIES[3]}
STAGE_COLOURS = {"cold_start": MUTED, "rejection_sampling": SERIES[5], "grpo": SERIES[0]}
WIDTH = 5.6
"""The width of the wide charts, in inches."""
MAX_NAME = 26
"""A longer subgroup name is cut to this many characters."""
CONFIDENCE_COLORS = {"judge": SERIES[0], "listener": SERIES[2]}
"""The colour of each source of probabilities in a reliability diagram."""


def accuracy_plot(summary: Summary) -> Plot | None:
    """Accuracy with its interval per split and stage, chance level and blind baseline; None without evaluations.

    The values are printed in rows under the axis, where they cannot overlap.
    """
    stages = _stages(summary)
    splits = [split for split in SPLIT_COLOURS if any(_scores(summary, s, split) for s in stages)]
    if not splits:
        return None

    def paint(axes: Axes) -> None:
        ends = (-0.5, len(stages) - 0.5)
        _draw_baselines(axes, summary, ends)
        for k, split in enumerate(splits):
            shift, colour = 0.16 * (k - (len(splits) - 1) / 2), placeholder_color(SPLIT_COLOURS[split])
            evaluated = [(i, scores) for i, stage in enumerate(stages) if (scores := _scores(summary, stage, split))]
            xs, values = [i + shift for i, _ in evaluated], [scores.accuracy or 0.0 for _, scores in evaluated]
            axes.plot(xs, values, color=colour, alpha=0.45, linewidth=1.4)
            axes.plot(xs, values, color=colour, linestyle="", marker="o", markersize=7)
            for x, (i, scores) in zip(xs, evaluated, strict=True):
                if scores.accuracy_interval is not None:
                    axes.vlines(x, *scores.accuracy_interval, color=colour, linewidth=2)
                axes.annotate(
                    percent(scores.accuracy), (i, 0), (0, -24 - 15 * k), xycoords=("data", "axes fraction"),
                    textcoords="offset points", color=colour, ha="center", va="top", weight="bold",
                )  # fmt: skip
        axes.set_xticks(range(len(stages)), [f"after {stage_name(s)}" for s in stages])
        axes.set_xlim(*ends)
        axes.set_ylim(top=1.03)
        axes.yaxis.set_major_formatter(lambda value, _: round_percent(value))
        axes.set_title(metric_name(summary.task), loc="left")

    svg = draw(paint, "accuracy", width=WIDTH, height=3.3, below=0.14 + 0.065 * len(splits))
    name = metric_name(summary.task)
    legend = tuple((split_name(split), SPLIT_COLOURS[split]) for split in splits)
    return Plot(capitalize_first(name), "after each stage", svg, legend)


def subgroup_plots(summary: Summary) -> list[Plot]:
    """Accuracy by subgroup, a chart per facet and split: a row per subgroup, a point per stage."""
    stages = _stages(summary)
    legend = tuple((stage_name(s), _stage_colour(s)) for s in stages)
    plots = []
    for facet in _distinct(f for s in stages for scores in summary.stages[s].values() for f in scores.by):
        for split in SPLIT_COLOURS:
            names = _distinct(name for s in stages for name in _subgroups(summary, s, split, facet))
            if names:
                rows = [
                    [(s, _subgroups(summary, s, split, facet).get(n, SplitMetrics())) for s in stages] for n in names
                ]
                svg = _draw_subgroups(f"{facet} {split}", names, rows, summary)
                plots.append(Plot(f"By {facet}", split_name(split), svg, legend))
    return plots


def reliability_plots(summary: Summary) -> list[Plot]:
    """Accuracy against confidence of the judge and its listener on held-out data: one diagram per stage."""
    plots = []
    for stage in _stages(summary):
        calibration = summary.stages[stage].get("heldout", SplitMetrics()).calibration
        curves = {k: calibration[k] for k in CONFIDENCE_COLORS if k in calibration and calibration[k].bins}
        if curves:
            names = {"judge": artifact_name(summary.task), "listener": "listener"}
            legend = tuple(
                (f"{names[source]}, ECE {format_number(r.ece)}", CONFIDENCE_COLORS[source])
                for source, r in curves.items()
            )
            title = f"after {stage_name(stage)}, held-out"
            plots.append(Plot("Reliability", title, _draw_reliability(f"reliability {stage}", curves), legend))
    return plots


def _draw_subgroups(
    title: str, names: Sequence[str], rows: Sequence[Sequence[tuple[str, SplitMetrics]]], summary: Summary
) -> Markup:
    def paint(axes: Axes) -> None:
        for y, row in enumerate(rows):
            for k, (stage, scores) in enumerate(row):
                if scores.accuracy is None:
                    continue
                height, colour = y + 0.2 * (k - (len(row) - 1) / 2), placeholder_color(_stage_colour(stage))
                if scores.accuracy_interval is not None:
                    axes.hlines(height, *scores.accuracy_interval, color=colour, linewidth=1.8, alpha=0.6)
                axes.plot(scores.accuracy, height, color=colour, marker="o", markersize=6.5)
        if summary.chance is not None:
            axes.axvline(summary.chance, color=placeholder_color(INK), linewidth=1, linestyle=(0, (5, 4)))
        counts = [max((s.n or 0) for _, s in row) for row in rows]
        axes.set_yticks(range(len(names)), [f"{name} ({n:g})" for name, n in zip(labels, counts, strict=True)])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(right=1.02)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_title(metric_name(summary.task), loc="left")
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(lambda value, _: round_percent(value))

    labels = [name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…" for name in names]
    left = (0.6 + 0.085 * max(map(len, labels))) / WIDTH  # a character is about 0.085 inches wide
    height = 0.75 + 0.5 * len(names)
    return draw(paint, title, width=WIDTH, height=height, below=0.32 / height, left=left, right=0.95)


def _draw_reliability(title: str, curves: dict[str, Reliability]) -> Markup:
    def paint(axes: Axes) -> None:
        low = min(min(confidence for confidence, _, _ in r.bins) for r in curves.values())
        axes.plot((0, 1), (0, 1), color=placeholder_color(MUTED), linewidth=1, linestyle=(0, (5, 4)))
        for source, reliability in curves.items():
            confidence, accuracy, n = zip(*reliability.bins, strict=True)
            colour = placeholder_color(CONFIDENCE_COLORS[source])
            axes.plot(confidence, accuracy, color=colour, alpha=0.45, linewidth=1.4)
            sizes = [20 + 180 * count / sum(n) for count in n]
            axes.scatter(confidence, accuracy, sizes, color=colour, alpha=0.85, linewidths=0, zorder=3)
        axes.set_xlim(min(0.45, low - 0.05), 1.03)
        axes.set_ylim(-0.04, 1.04)
        axes.locator_params(nbins=6)
        axes.set_xlabel("confidence")
        axes.set_title("accuracy", loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: round_percent(value))

    return draw(paint, title, width=4.6, height=3.0, below=0.15, right=0.96)


def _draw_baselines(axes: Axes, summary: Summary, ends: tuple[float, float]) -> None:
    blind = summary.blind
    if blind.accuracy is not None:
        axes.hlines(blind.accuracy, *ends, color=placeholder_color(MUTED), linewidth=1.2, linestyle=":")
    if blind.accuracy_interval is not None:
        axes.fill_between(ends, *blind.accuracy_interval, color=placeholder_color(MUTED), alpha=0.16, linewidth=0)
    if summary.chance is not None:
        axes.hlines(summary.chance, *ends, color=placeholder_color(INK), linewidth=1, linestyle=(0, (5, 4)))


def _stages(summary: Summary) -> list[str]:
    return sorted(summary.stages, key=stage_order)


def _scores(summary: Summary, stage: str, split: str) -> SplitMetrics | None:
    """The scores of a stage on a split; None if it was not evaluated there."""
    scores = summary.stages[stage].get(split)
    return scores if scores is not None and scores.accuracy is not None else None


def _subgroups(summary: Summary, stage: str, split: str, facet: str) -> dict[str, SplitMetrics]:
    return dict(summary.stages[stage].get(split, SplitMetrics()).by.get(facet, {}))


def _stage_colour(stage: str) -> str:
    return STAGE_COLOURS.get(stage, SERIES[7])


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
