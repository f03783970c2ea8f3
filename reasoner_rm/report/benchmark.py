"""The page of a benchmark's result: every figure with the protocol beside it, and the items behind them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.report import formatting as words
from reasoner_rm.report.benchmark_answers import evaluated
from reasoner_rm.report.item_browser import browse
from reasoner_rm.report.media import ThumbnailCache
from reasoner_rm.report.page import asset, environment
from reasoner_rm.report.svg import INK, MUTED, SERIES, Plot, draw, placeholder_color
from reasoner_rm.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ITEMS = 2000
"""Of a larger benchmark so many items, spread evenly, are put into the browser."""
MAX_KINDS = 30
"""A facet with more kinds has no chart and no table of its own."""


def write_benchmark_report(path: str | Path) -> Path:
    """Write `report.html` into a result folder; its path.

    Raises:
        InputError: nothing was scored there.
    """
    folder = ResultDir(path)
    scores = folder.scores()
    album = ThumbnailCache()
    answered, _ = folder.answered_items()
    step = -(-len(answered) // MAX_ITEMS)
    items = browse([evaluated(answered[::step] if step else [], scores)], album)
    script = asset("report.js") + asset("browser.js")
    groups = {facet: kinds for facet, kinds in scores["groups"].items() if len(kinds) <= MAX_KINDS}
    page = environment().get_template("benchmark.html.jinja").render(
        scores=scores,
        groups=groups,
        plots=[plot for plot in (_by_kind(scores, groups), _curve(scores)) if plot],
        browser=items,
        total=len(answered),
        stage_names={stage: stage for stage in items.stages},
        missing=album.missing,
        style=asset("report.css") + asset("browser.css") + asset("benchmark.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    out = folder.path / "report.html"
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return out


def lines(scores: Mapping[str, Any]) -> list[str]:
    """The figures for a terminal."""
    protocol = scores["protocol"]
    rows = [f"protocol {protocol['name']}: {scores['n']} items, {scores['diagnostics']['votes']} votes"]
    rows += [f"  {name:28} {in_words(figure)}" for name, figure in scores["metrics"].items()]
    for facet, kinds in scores["groups"].items():
        if len(kinds) <= MAX_KINDS:
            rows += [f"  {f'{facet}: {kind}':28.28} {in_words(figure)}" for kind, figure in kinds.items()]
    how = scores["diagnostics"]
    rows += [f"  {name:28} {words.percent(how[key])}" for key, name in HABITS if how[key] is not None]
    rows += [f"  baseline {name:19} {in_words(figure)}" for name, figure in scores["baselines"].items()]
    return rows + [f"! {remark}" for remark in scores["warnings"]]


HABITS = (
    ("unparsed", "unparsed"), ("truncated", "cut off"), ("ties", "ties"), ("first_position", "first position"),
    ("consistency", "swap consistency"),
)  # fmt: skip


def shown(figure: Mapping[str, Any]) -> str:
    """
    >>> shown({"value": 0.5, "share": True}).replace(words.SPACE, " "), shown({"value": 3.25, "share": False})
    ('50.0 %', '3.25')
    """
    return words.percent(figure["value"]) if figure["share"] else words.format_number(figure["value"])


def between(figure: Mapping[str, Any]) -> str:
    """The interval, or a dash."""
    if not figure["interval"]:
        return words.MISSING
    return " – ".join(shown({**figure, "value": end}) for end in figure["interval"])


def in_words(figure: Mapping[str, Any]) -> str:
    """
    >>> in_words({"value": 0.5, "interval": [0.25, 0.75], "n": 4, "share": True}).replace(words.SPACE, " ")
    '50.0 %  [25.0 % – 75.0 %]  n 4'
    """
    value = "no value" if figure["value"] is None else shown(figure)
    interval = f"  [{between(figure)}]" if figure["interval"] else ""
    return f"{value}{interval}" + (f"  n {words.format_int(figure['n'])}" if figure["n"] else "")


def _by_kind(scores: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Plot | None:
    """Every figure with its interval as a row, the baselines as lines behind them."""
    headline = scores["headline"]
    rows: list[tuple[str, Mapping[str, Any]]] = [(headline["name"], headline)]
    own = scores["protocol"]["over"]
    for facet, kinds in groups.items():
        if facet == own or len(groups) == 1:
            rows += [(str(kind), figure) for kind, figure in kinds.items()]
    rows = [(name, figure) for name, figure in rows if figure["value"] is not None]
    if not rows or not headline["share"]:
        return None
    lines_at = {name: f["value"] for name, f in scores["baselines"].items() if f["value"] is not None}

    def paint(axes: Axes) -> None:
        for k, (_, value) in enumerate(lines_at.items()):
            axes.axvline(
                value, color=placeholder_color(BASELINES[k % len(BASELINES)]), linewidth=1.2, linestyle=(0, (4, 3))
            )
        for y, (_, figure) in enumerate(rows):
            colour = placeholder_color(INK if y == 0 else SERIES[0])
            if figure["interval"]:
                axes.hlines(y, *figure["interval"], color=colour, linewidth=2)
            axes.plot(figure["value"], y, color=colour, marker="o", markersize=6.5)
        axes.set_yticks(range(len(rows)), [f"{name[:24]} ({figure['n']})" for name, figure in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_title(headline["name"], loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: words.round_percent(value))

    height = 0.75 + 0.36 * len(rows)
    svg = draw(paint, "kinds", width=6.4, height=height, below=0.32 / height, left=0.36, right=0.97)
    legend = tuple((name, BASELINES[k % len(BASELINES)]) for k, name in enumerate(lines_at))
    return Plot("By group", "with 95 % intervals; dashed: baselines on the same rows", svg, legend)


BASELINES = (MUTED, SERIES[3], SERIES[1], SERIES[6])


def _curve(scores: Mapping[str, Any]) -> Plot | None:
    """The figure with the majority of the first K votes."""
    points = [(int(k), value) for k, value in scores["majority_curve"].items() if value is not None]
    if len(points) < 2:
        return None

    def paint(axes: Axes) -> None:
        axes.plot(*zip(*points, strict=True), color=placeholder_color(SERIES[0]), marker="o", markersize=5)
        axes.set_xticks([k for k, _ in points])
        axes.set_xlabel("votes")
        axes.set_title(scores["headline"]["name"], loc="left")
        axes.yaxis.set_major_formatter(lambda value, _: words.round_percent(value))

    svg = draw(paint, "curve", width=4.2, height=2.6, below=0.2)
    return Plot("Majority of K votes", "the first K of each item", svg)


def confusion_rows(table: Mapping[str, Mapping[str, int]]) -> tuple[list[str], list[tuple[str, Sequence[int]]]]:
    """What was said, as columns, and a row of counts for each thing that is right."""
    known = [name for name in ("first", "second", "tie", "unreadable") if any(name in row for row in table.values())]
    return known, [(right, [row.get(name, 0) for name in known]) for right, row in table.items()]


environment().filters |= {"shown": shown, "between": between, "confusion": confusion_rows}
