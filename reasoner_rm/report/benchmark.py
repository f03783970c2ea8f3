"""The report page of a benchmark result: protocol, metrics with intervals, baselines, and every item with its votes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.report.benchmark_answers import evaluated
from reasoner_rm.report.formatting import MISSING, format_int, format_number, percent, round_percent
from reasoner_rm.report.item_browser import browse
from reasoner_rm.report.media import ThumbnailCache
from reasoner_rm.report.page import asset, environment
from reasoner_rm.report.svg import INK, MUTED, SERIES, Plot, draw, placeholder_color
from reasoner_rm.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ITEMS = 2000
"""Of a larger benchmark at most this many items, at even intervals, are in the item browser."""
MAX_SUBGROUPS = 30
"""A facet with more subgroups has no chart and no table."""
BASELINE_COLOURS = (MUTED, SERIES[3], SERIES[1], SERIES[6])


def write_benchmark_report(path: str | Path, protocol: str | None = None) -> Path:
    """Write the page of the scores under a protocol into a result folder, and return its path.

    Args:
        protocol: its name with the options that were changed; None: the evaluation's own, in `report.html`.

    Raises:
        InputError: the votes were not scored under it.
    """
    folder = ResultDir(path)
    scores = folder.scores(protocol)
    thumbnails = ThumbnailCache()
    answered, _ = folder.answered_items()
    step = -(-len(answered) // MAX_ITEMS)
    items = browse([evaluated(answered[::step] if step else [], scores)], thumbnails)
    script = asset("report.js") + asset("browser.js")
    groups = {facet: subgroups for facet, subgroups in scores["groups"].items() if len(subgroups) <= MAX_SUBGROUPS}
    page = environment().get_template("benchmark.html.jinja").render(
        scores=scores,
        groups=groups,
        plots=[plot for plot in (_subgroup_plot(scores, groups), _majority_plot(scores)) if plot],
        browser=items,
        total=len(answered),
        stage_names={stage: stage for stage in items.stages},
        missing=thumbnails.missing,
        style=asset("report.css") + asset("browser.css") + asset("benchmark.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    out = folder.path / folder.scores_file(protocol).with_suffix(".html").name.replace("scores", "report", 1)
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return out


def summary_lines(scores: Mapping[str, Any]) -> list[str]:
    """A result as text lines for a terminal."""
    protocol = scores["protocol"]
    rows = [f"protocol {protocol['name']}: {scores['n']} items, {scores['diagnostics']['votes']} votes"]
    rows += [f"  {name:28} {format_metric(metric)}" for name, metric in scores["metrics"].items()]
    for facet, subgroups in scores["groups"].items():
        if len(subgroups) <= MAX_SUBGROUPS:
            rows += [f"  {f'{facet}: {name}':28.28} {format_metric(metric)}" for name, metric in subgroups.items()]
    diagnostics = scores["diagnostics"]
    rows += [f"  {name:28} {percent(value)}" for key, name in DIAGNOSTICS if (value := diagnostics[key]) is not None]
    rows += [f"  baseline {name:19} {format_metric(metric)}" for name, metric in scores["baselines"].items()]
    return rows + [f"warning: {warning}" for warning in scores["warnings"]]


DIAGNOSTICS = (
    ("unparsed", "unparsed"), ("truncated", "truncated"), ("ties", "ties"), ("first_position", "first position"),
    ("consistency", "swap consistency"),
)  # fmt: skip


def format_value(metric: Mapping[str, Any]) -> str:
    """
    >>> format_value({"value": 3.25, "share": False})
    '3.25'
    """
    return percent(metric["value"]) if metric["share"] else format_number(metric["value"])


def format_interval(metric: Mapping[str, Any]) -> str:
    """The 95 % interval, or a dash."""
    if not metric["interval"]:
        return MISSING
    return " – ".join(format_value({**metric, "value": bound}) for bound in metric["interval"])


def format_metric(metric: Mapping[str, Any]) -> str:
    """
    >>> format_metric({"value": 0.5, "interval": [0.25, 0.75], "n": 4, "share": True}).replace("\u00a0", " ")
    '50.0 %  [25.0 % – 75.0 %]  n 4'
    """
    value = "no value" if metric["value"] is None else format_value(metric)
    interval = f"  [{format_interval(metric)}]" if metric["interval"] else ""
    return f"{value}{interval}" + (f"  n {format_int(metric['n'])}" if metric["n"] else "")


def _subgroup_plot(scores: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Plot | None:
    """The headline metric overall and by subgroup, a row each; the baselines are vertical lines."""
    headline = scores["headline"]
    rows: list[tuple[str, Mapping[str, Any]]] = [(headline["name"], headline)]
    averaged_over = scores["protocol"]["over"]
    for facet, subgroups in groups.items():
        if facet == averaged_over or len(groups) == 1:
            rows += [(str(name), metric) for name, metric in subgroups.items()]
    rows = [(name, metric) for name, metric in rows if metric["value"] is not None]
    if not rows or not headline["share"]:
        return None
    baselines = {name: m["value"] for name, m in scores["baselines"].items() if m["value"] is not None}

    def paint(axes: Axes) -> None:
        for k, value in enumerate(baselines.values()):
            colour = placeholder_color(BASELINE_COLOURS[k % len(BASELINE_COLOURS)])
            axes.axvline(value, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
        for y, (_, metric) in enumerate(rows):
            colour = placeholder_color(INK if y == 0 else SERIES[0])
            if metric["interval"]:
                axes.hlines(y, *metric["interval"], color=colour, linewidth=2)
            axes.plot(metric["value"], y, color=colour, marker="o", markersize=6.5)
        axes.set_yticks(range(len(rows)), [f"{name[:24]} ({metric['n']})" for name, metric in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_title(headline["name"], loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: round_percent(value))

    height = 0.75 + 0.36 * len(rows)
    svg = draw(paint, "subgroups", width=6.4, height=height, below=0.32 / height, left=0.36, right=0.97)
    legend = tuple((name, BASELINE_COLOURS[k % len(BASELINE_COLOURS)]) for k, name in enumerate(baselines))
    return Plot("By subgroup", "with 95 % intervals; dashed: baselines on the same rows", svg, legend)


def _majority_plot(scores: Mapping[str, Any]) -> Plot | None:
    """The headline metric with the majority of the first K votes, over K; None with fewer than two values of K."""
    points = [(int(k), value) for k, value in scores["majority_curve"].items() if value is not None]
    if len(points) < 2:
        return None

    def paint(axes: Axes) -> None:
        axes.plot(*zip(*points, strict=True), color=placeholder_color(SERIES[0]), marker="o", markersize=5)
        axes.set_xticks([k for k, _ in points])
        axes.set_xlabel("votes")
        axes.set_title(scores["headline"]["name"], loc="left")
        axes.yaxis.set_major_formatter(lambda value, _: round_percent(value))

    svg = draw(paint, "curve", width=4.2, height=2.6, below=0.2)
    return Plot("Majority of K votes", "the first K of each item", svg)


def confusion_rows(table: Mapping[str, Mapping[str, int]]) -> tuple[list[str], list[tuple[str, Sequence[int]]]]:
    """The verdicts that occur, as columns, and a row of counts for each gold verdict."""
    verdicts = [name for name in ("first", "second", "tie", "unreadable") if any(name in row for row in table.values())]
    return verdicts, [(gold, [row.get(name, 0) for name in verdicts]) for gold, row in table.items()]


environment().filters |= {f.__name__: f for f in (format_value, format_interval, confusion_rows)}
