"""matplotlib charts as inline SVG: no metadata, and CSS variables as colours.

matplotlib does not accept CSS variables, so each one has a placeholder colour that is replaced in the SVG. One
drawing then follows the reader's light or dark scheme. Titles and legends are HTML; of all names only those of stages
and subgroups are part of a drawing. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--line)"
_DRAWN = {css: f"#fe00{i:02x}" for i, css in enumerate((INK, MUTED, GRID, *SERIES))}

_STYLE = {
    "svg.fonttype": "none", "font.size": 10, "axes.titlesize": 10, "axes.titlepad": 9, "text.parse_math": False,
    "axes.titlecolor": _DRAWN[MUTED], "axes.labelcolor": _DRAWN[MUTED], "axes.edgecolor": _DRAWN[GRID],
    "xtick.labelcolor": _DRAWN[MUTED], "ytick.labelcolor": _DRAWN[MUTED], "text.color": _DRAWN[MUTED],
    "xtick.color": _DRAWN[GRID], "ytick.major.size": 0, "grid.color": _DRAWN[GRID], "axes.grid": True,
    "axes.grid.axis": "y", "axes.axisbelow": True, "axes.linewidth": 1, "lines.linewidth": 1.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart with its title, subtitle and legend: (name, colour) pairs."""

    title: str
    subtitle: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def placeholder_color(colour: str) -> str:
    """The colour to draw with in place of a CSS variable (`INK`, `SERIES`, …)."""
    return _DRAWN[colour]


def draw(
    paint: Callable[[Axes], None],
    name: str,
    *,
    width: float,
    height: float,
    below: float,
    left: float = 0.125,
    right: float = 0.99,
) -> Markup:
    """The SVG of what ``paint`` draws on one pair of axes.

    Args:
        name: unique on the page; the SVG's own identifiers derive from it.
        width, height: in inches.
        below: the share of the height under the axes.
        left, right: the horizontal limits of the axes, as shares of the width.
    """
    import matplotlib
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        above = 1 - 0.345 / height  # room for the title, the same in every chart
        figure = Figure(figsize=(width, height))
        paint(figure.add_axes((left, below, right - left, above - below)))
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_for_page(out.getvalue()))


def _for_page(svg: str) -> str:
    """A stand-alone SVG file as an HTML element: CSS colours, the page's font and width, no generated identifiers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', ' class="chart" aria-hidden="true"', svg, count=1)
    svg = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for css, colour in _DRAWN.items():
        svg = svg.replace(colour, css)
    return re.sub(r"\s*\n\s*", "\n", svg)
