"""Which metrics make up which plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reasoner_rm.report import plots
from reasoner_rm.report.run_reader import Run, Series
from reasoner_rm.report.svg import INK, SERIES, Plot
from reasoner_rm.report.words import stage_name, stage_order

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


def main_plots(run: Run, colours: Mapping[str, str]) -> list[Plot]:
    """The plots that tell the story, stage by stage as they ran."""
    found: list[Plot] = []
    for stage in sorted(run.metrics, key=stage_order):
        series = run.metrics[stage]
        found += _rewarded(stage, series, colours) if "reward" in series else _supervised(stage, series)
    return found


def others(run: Run) -> list[Plot]:
    """Every other metric that was logged."""
    return [
        _plot(stage, name, series, name, "", SERIES[7])
        for stage in sorted(run.metrics, key=stage_order)
        for name, series in sorted(run.metrics[stage].items())
        if not _is_told(name, rewarded="reward" in run.metrics[stage])
    ]


def component_names(run: Run) -> list[str]:
    """Every reward component that was logged, or is shown with a rollout."""
    logged = {n.removeprefix(COMPONENT) for series in run.metrics.values() for n in series if n.startswith(COMPONENT)}
    shown = {name for chapter in run.sections for r in chapter for c in r.completions for name in c.components}
    return sorted(logged | shown)


def _is_told(name: str, *, rewarded: bool) -> bool:
    return (name in RL_PLOTS or name.startswith(COMPONENT)) if rewarded else name == "loss"


def _supervised(stage: str, series: Mapping[str, Series]) -> Iterator[Plot]:
    if "loss" in series:
        yield _plot(stage, "loss", series["loss"], "Loss", "loss", SERIES[4])


def _rewarded(stage: str, series: Mapping[str, Series], colours: Mapping[str, str]) -> Iterator[Plot]:
    parts = {name.removeprefix(COMPONENT): s for name, s in series.items() if name.startswith(COMPONENT)}
    if parts:
        svg = plots.curves(f"{stage} components", [(s, colours[n]) for n, s in parts.items()], "before weighting")
        yield Plot("Reward components", stage_name(stage), svg, tuple((n, colours[n]) for n in parts))
    for name, (title, label) in RL_PLOTS.items():
        if name in series:
            yield _plot(stage, name, series[name], title, label, INK)


def _plot(stage: str, name: str, series: Series, title: str, label: str, colour: str) -> Plot:
    return Plot(title, stage_name(stage), plots.curves(f"{stage} {name}", [(series, colour)], label))
