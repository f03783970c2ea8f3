"""Metrics over steps, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from reasoner_rm.report.run_reader import Series
from reasoner_rm.report.svg import SERIES, draw, placeholder_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KNOWN = {name: SERIES[i] for i, name in enumerate(("accuracy", "format", "listener_belief"))}

POINTS = 400
"""A longer series is drawn as this many means of neighbouring steps."""


def component_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour per reward component, the same in every plot and bar; the usual components always have theirs."""
    others = [name for name in names if name not in _KNOWN]
    free = SERIES[len(_KNOWN) :]
    return _KNOWN | {name: free[i % len(free)] for i, name in enumerate(others)}


def curves(name: str, lines: Sequence[tuple[Series, str]], label: str) -> Markup:
    """Metrics over steps: the running mean of each series, its raw values pale behind it.

    Args:
        name: unique on the page; the drawing's own identifiers derive from it.
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
        axes.yaxis.get_offset_text().set(x=1, ha="right")  # the label stands on the left

    return draw(paint, name, width=4.6, height=2.5, below=0.175)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of about a tenth of the series around each value, gaps left out."""
    half = len(values) // 20
    known = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, long ones as means of neighbours."""
    steps, values = np.asarray(series.steps), np.where(np.isfinite(series.values), series.values, np.nan)
    if len(steps) <= POINTS:
        return steps, values
    pieces = zip(np.array_split(steps, POINTS), np.array_split(values, POINTS), strict=True)
    means = [(s.mean(), v[np.isfinite(v)].mean() if np.isfinite(v).any() else np.nan) for s, v in pieces]
    return np.array([s for s, _ in means]), np.array([v for _, v in means])
