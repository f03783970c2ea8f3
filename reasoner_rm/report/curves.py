"""Which metrics make up which plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from reasoner_rm.report import plots
from reasoner_rm.report.read import Run, Series
from reasoner_rm.report.words import split_name, stage_name, stage_order

COMPONENT = "reward/"
"""How the metric of a reward component begins."""

RL_PLOTS = {
    "reward": ("Total reward", "reward"),
    "kl": ("KL to the reference", "KL"),
    "entropy": ("Entropy", "nats per token"),
    "completion_length": ("Completion length", "tokens"),
    "zero_variance": ("Groups without variance", "share of groups"),
}
"""The plots of a stage that learns from rewards, beside its components: metric, title, axis."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart with its title, the stage it is about, and what each colour means."""

    title: str
    stage: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def told(run: Run, colours: Mapping[str, str]) -> list[Plot]:
    """The plots that tell the story, stage by stage as they ran."""
    found: list[Plot] = []
    for stage in sorted(run.metrics, key=stage_order):
        series = run.metrics[stage]
        found += _rewarded(stage, series, colours) if "reward" in series else _supervised(stage, series)
    return found


def others(run: Run) -> list[Plot]:
    """Every other metric that was logged."""
    return [
        _plot(stage, name, series, name, "", plots.SERIES[7])
        for stage in sorted(run.metrics, key=stage_order)
        for name, series in sorted(run.metrics[stage].items())
        if not _is_told(name, rewarded="reward" in run.metrics[stage])
    ]


def component_names(run: Run) -> list[str]:
    """Every reward component that was logged, or is shown with a rollout."""
    logged = {n.removeprefix(COMPONENT) for series in run.metrics.values() for n in series if n.startswith(COMPONENT)}
    shown = {name for chapter in run.chapters for r in chapter for c in r.completions for name in c.components}
    return sorted(logged | shown)


def accuracy_plot(run: Run) -> Plot | None:
    """Accuracy after each stage; None when nothing was measured."""
    if run.summary is None:
        return None
    stages = sorted(run.summary.stages, key=stage_order)
    scores = {
        split: {s: found for s in stages if (found := run.summary.stages[s].get(split)) and found.accuracy is not None}
        for split in plots.SPLIT_COLOURS
    }
    scores = {split: by_stage for split, by_stage in scores.items() if by_stage}
    if not scores:
        return None
    svg = plots.accuracy(stages, scores, run.summary.chance, run.summary.blind)
    legend = tuple((split_name(split), plots.SPLIT_COLOURS[split]) for split in scores)
    return Plot("Accuracy", "after each stage", Markup(svg), legend)


def _is_told(name: str, *, rewarded: bool) -> bool:
    return (name in RL_PLOTS or name.startswith(COMPONENT)) if rewarded else name == "loss"


def _supervised(stage: str, series: Mapping[str, Series]) -> Iterator[Plot]:
    if "loss" in series:
        yield _plot(stage, "loss", series["loss"], "Loss", "loss", plots.SERIES[4])


def _rewarded(stage: str, series: Mapping[str, Series], colours: Mapping[str, str]) -> Iterator[Plot]:
    parts = {name.removeprefix(COMPONENT): s for name, s in series.items() if name.startswith(COMPONENT)}
    if parts:
        svg = plots.curves(f"{stage} components", [(s, colours[n]) for n, s in parts.items()], "before weighting")
        yield Plot("Reward components", stage_name(stage), Markup(svg), tuple((n, colours[n]) for n in parts))
    for name, (title, label) in RL_PLOTS.items():
        if name in series:
            yield _plot(stage, name, series[name], title, label, plots.INK)


def _plot(stage: str, name: str, series: Series, title: str, label: str, colour: str) -> Plot:
    return Plot(title, stage_name(stage), Markup(plots.curves(f"{stage} {name}", [(series, colour)], label)))
