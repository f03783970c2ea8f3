"""Charts as SVG text for the inside of an HTML page: no metadata, and colours that are the page's own.

matplotlib knows no CSS variables, so every colour of the page has a stand-in that is put back afterwards. That is
what lets one drawing follow the reader's light or dark scheme. Titles and legends are HTML, so that of all names
only the stages' enter a drawing. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reasoner_rm.report.read import Scores, Series
from reasoner_rm.report.words import percent, round_percent, stage_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--line)"
_STAND_INS = {css: f"#fe00{i:02x}" for i, css in enumerate((INK, MUTED, GRID, *SERIES))}

_KNOWN = {name: SERIES[i] for i, name in enumerate(("accuracy", "format", "listener_belief"))}
SPLIT_COLOURS = {"heldout": SERIES[0], "ood": SERIES[3]}

POINTS = 400
"""A longer series is drawn as this many means of neighbouring steps."""

_STYLE = {
    "svg.fonttype": "none", "font.size": 10, "axes.titlesize": 10, "axes.titlepad": 9, "text.parse_math": False,
    "axes.titlecolor": _STAND_INS[MUTED], "axes.labelcolor": _STAND_INS[MUTED], "axes.edgecolor": _STAND_INS[GRID],
    "xtick.labelcolor": _STAND_INS[MUTED], "ytick.labelcolor": _STAND_INS[MUTED], "text.color": _STAND_INS[MUTED],
    "xtick.color": _STAND_INS[GRID], "ytick.major.size": 0, "grid.color": _STAND_INS[GRID], "axes.grid": True,
    "axes.grid.axis": "y", "axes.axisbelow": True, "axes.linewidth": 1, "lines.linewidth": 1.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
}  # fmt: skip


def component_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour per reward component, the same in every plot and bar; the usual components always have theirs."""
    others = [name for name in names if name not in _KNOWN]
    free = SERIES[len(_KNOWN) :]
    return _KNOWN | {name: free[i % len(free)] for i, name in enumerate(others)}


def curves(name: str, lines: Sequence[tuple[Series, str]], label: str) -> str:
    """Metrics over steps: the running mean of each series, its raw values pale behind it.

    Args:
        name: unique on the page; the drawing's own identifiers derive from it.
        lines: each series with its colour.
        label: of the vertical axis.
    """

    def paint(axes: Axes) -> None:
        for series, colour in lines:
            steps, values = _thinned(series)
            mean, ink = running_mean(values), _STAND_INS[colour]
            axes.plot(steps, values, color=ink, alpha=0.4, linewidth=1, marker="." if len(steps) == 1 else "")
            axes.plot(steps, mean, color=ink)
        axes.set_xlabel("step")
        axes.set_title(label, loc="left")
        axes.locator_params(axis="x", integer=True)
        axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-2, 4))
        axes.yaxis.get_offset_text().set(x=1, ha="right")  # the label stands on the left

    return _draw(paint, name, width=4.6, height=2.5, below=0.175)


def accuracy(
    stages: Sequence[str], scores: Mapping[str, Mapping[str, Scores]], chance: float | None, blind: Scores
) -> str:
    """Accuracy per split (the keys of ``scores``) and stage with its interval, beside chance and the blind baseline."""

    def paint(axes: Axes) -> None:
        ends = (-0.5, len(stages) - 0.5)
        if blind.accuracy is not None:
            axes.hlines(blind.accuracy, *ends, color=_STAND_INS[MUTED], linewidth=1.2, linestyle=":")
        if blind.accuracy_interval is not None:
            axes.fill_between(ends, *blind.accuracy_interval, color=_STAND_INS[MUTED], alpha=0.16, linewidth=0)
        if chance is not None:
            axes.hlines(chance, *ends, color=_STAND_INS[INK], linewidth=1, linestyle=(0, (5, 4)))
        for k, (split, by_stage) in enumerate(scores.items()):
            shift = 0.16 * (k - (len(scores) - 1) / 2)
            points = [(i + shift, by_stage[s]) for i, s in enumerate(stages) if s in by_stage]
            _points(axes, points, _STAND_INS[SPLIT_COLOURS[split]], leftmost=shift <= 0)
        axes.set_xticks(range(len(stages)), [f"after {stage_name(s)}" for s in stages])
        axes.set_xlim(*ends)
        axes.set_ylim(top=1.03)
        axes.yaxis.set_major_formatter(lambda value, _: round_percent(value))
        axes.set_title("accuracy", loc="left")

    return _draw(paint, "accuracy", width=5.6, height=3.0, below=0.09)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of about a tenth of the series around each value, gaps left out."""
    half = len(values) // 20
    known = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _points(axes: Axes, points: Sequence[tuple[float, Scores]], colour: str, *, leftmost: bool) -> None:
    """One split's accuracies with whiskers and their values beside them."""
    x, y = np.array([(place, scores.accuracy) for place, scores in points], dtype=float).T
    axes.plot(x, y, color=colour, alpha=0.45, linewidth=1.4)
    axes.plot(x, y, color=colour, linestyle="", marker="o", markersize=7)
    for place, scores in points:
        if scores.accuracy_interval is not None:
            axes.vlines(place, *scores.accuracy_interval, color=colour, linewidth=2)
        beside, align = ((-9, 6), "right") if leftmost else ((9, -6), "left")
        axes.annotate(
            percent(scores.accuracy), (place, scores.accuracy), beside, textcoords="offset points",
            color=colour, ha=align, va="center", weight="bold",
        )  # fmt: skip


def _thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, long ones as means of neighbours."""
    steps, values = np.asarray(series.steps), np.where(np.isfinite(series.values), series.values, np.nan)
    if len(steps) <= POINTS:
        return steps, values
    pieces = zip(np.array_split(steps, POINTS), np.array_split(values, POINTS), strict=True)
    means = [(s.mean(), v[np.isfinite(v)].mean() if np.isfinite(v).any() else np.nan) for s, v in pieces]
    return np.array([s for s, _ in means]), np.array([v for _, v in means])


def _draw(paint: Callable[[Axes], None], name: str, *, width: float, height: float, below: float) -> str:
    """What ``paint`` puts on a pair of axes. Sizes are in inches; ``below`` is the share left free under the axes."""
    import matplotlib
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height))
        paint(figure.add_axes((0.125, below, 0.865, 0.885 - below)))
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(out.getvalue())


def _for_page(svg: str) -> str:
    """A stand-alone SVG file as an element of a page: its colours, its font, its size, no identifiers of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', ' class="chart" aria-hidden="true"', svg, count=1)
    svg = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for css, colour in _STAND_INS.items():
        svg = svg.replace(colour, css)
    return re.sub(r"\s*\n\s*", "\n", svg)
