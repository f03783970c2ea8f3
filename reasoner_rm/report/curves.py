"""Plots of the logged metrics over steps: which metrics share a plot, and how a series is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from reasoner_rm.report.formatting import stage_name, stage_order
from reasoner_rm.report.run_reader import Run, Series
from reasoner_rm.report.svg import INK, SERIES, Plot, draw, placeholder_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPONENT = "reward/"
"""The prefix of a reward component's metric."""

RL_PLOTS = {
    "reward": ("Total reward", "reward"),
    "kl": ("KL to the reference", "KL"),
    "entropy": ("Entropy", "nats per token"),
    "completion_length": ("Completion length", "tokens"),
    "zero_variance": ("Groups with zero reward variance", "share of groups"),
}
"""The main plots of an RL stage besides the reward components: metric, title, axis."""

FIXED_COLOURS = {name: SERIES[i] for i, name in enumerate(("accuracy", "format", "listener_belief"))}

MAX_POINTS = 400
"""A longer series is drawn as this many means of neighbouring steps."""


def main_plots(run: Run, colours: Mapping[str, str]) -> list[Plot]:
    """Reward components and `RL_PLOTS` of each RL stage, the loss of each SFT stage; stages in the order they ran."""
    plots: list[Plot] = []
    for stage in sorted(run.metrics, key=stage_order):
        series = run.metrics[stage]
        plots += _rl_plots(stage, series, colours) if "reward" in series else _sft_plots(stage, series)
    return plots


def other_plots(run: Run) -> list[Plot]:
    """Every other metric that was logged, one plot each."""
    return [
        _plot(stage, name, series, name, "", SERIES[7])
        for stage in sorted(run.metrics, key=stage_order)
        for name, series in sorted(run.metrics[stage].items())
        if not _in_main_plots(name, is_rl="reward" in run.metrics[stage])
    ]


def component_names(run: Run) -> list[str]:
    """Every reward component in the metrics or in the rollouts of the page."""
    logged = {n.removeprefix(COMPONENT) for series in run.metrics.values() for n in series if n.startswith(COMPONENT)}
    sampled = {name for section in run.sections for r in section for c in r.completions for name in c.components}
    return sorted(logged | sampled)


def component_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour per reward component, the same in every plot and bar; `FIXED_COLOURS` are the same in every run."""
    others = [name for name in names if name not in FIXED_COLOURS]
    free = SERIES[len(FIXED_COLOURS) :]
    return FIXED_COLOURS | {name: free[i % len(free)] for i, name in enumerate(others)}


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of about a tenth of the series, centred on each value; NaN values are left out."""
    half = len(values) // 20
    finite = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(finite, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(finite.astype(float), kernel)[half : half + len(values)]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _in_main_plots(name: str, *, is_rl: bool) -> bool:
    return (name in RL_PLOTS or name.startswith(COMPONENT)) if is_rl else name == "loss"


def _sft_plots(stage: str, series: Mapping[str, Series]) -> Iterator[Plot]:
    if "loss" in series:
        yield _plot(stage, "loss", series["loss"], "Loss", "loss", SERIES[4])


def _rl_plots(stage: str, series: Mapping[str, Series], colours: Mapping[str, str]) -> Iterator[Plot]:
    components = {name.removeprefix(COMPONENT): s for name, s in series.items() if name.startswith(COMPONENT)}
    if components:
        svg = _curves(f"{stage} components", [(s, colours[n]) for n, s in components.items()], "before weighting")
        yield Plot("Reward components", stage_name(stage), svg, tuple((n, colours[n]) for n in components))
    for name, (title, label) in RL_PLOTS.items():
        if name in series:
            yield _plot(stage, name, series[name], title, label, INK)


def _plot(stage: str, name: str, series: Series, title: str, label: str, colour: str) -> Plot:
    return Plot(title, stage_name(stage), _curves(f"{stage} {name}", [(series, colour)], label))


def _curves(name: str, lines: Sequence[tuple[Series, str]], label: str) -> Markup:
    """One chart: the running mean of each series over its raw values in a paler colour.

    Args:
        name: unique on the page; the SVG's own identifiers derive from it.
        lines: each series with its colour.
        label: of the vertical axis.
    """

    def paint(axes: Axes) -> None:
        for series, colour in lines:
            steps, values = _thinned(series)
            mean, ink = running_mean(values), placeholder_color(colour)
            axes.plot(steps, values, color=ink, alpha=0.4, linewidth=1, marker="." if len(steps) == 1 else "")
            axes.plot(steps, mean, color=ink)
        axes.set_xlabel("step")
        axes.set_title(label, loc="left")
        axes.locator_params(axis="x", integer=True)
        axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-2, 4))
        axes.yaxis.get_offset_text().set(x=1, ha="right")  # the axis label is on the left

    return draw(paint, name, width=4.6, height=2.5, below=0.175)


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values; more than `MAX_POINTS` are averaged over neighbours."""
    steps, values = np.asarray(series.steps), np.where(np.isfinite(series.values), series.values, np.nan)
    if len(steps) <= MAX_POINTS:
        return steps, values
    chunks = zip(np.array_split(steps, MAX_POINTS), np.array_split(values, MAX_POINTS), strict=True)
    means = [(s.mean(), v[np.isfinite(v)].mean() if np.isfinite(v).any() else np.nan) for s, v in chunks]
    return np.array([s for s, _ in means]), np.array([v for _, v in means])
