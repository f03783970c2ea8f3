"""Charts as SVG text for the inside of an HTML page: no metadata, and colours that are the page's own.

matplotlib knows no CSS variables, so every colour of the page has a stand-in that is put back afterwards. That is
what lets one drawing follow the reader's light or dark scheme. Titles and legends are HTML, so that of all names
only the stages' and the kinds' enter a drawing. The same numbers give the same bytes.
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
_STAND_INS = {css: f"#fe00{i:02x}" for i, css in enumerate((INK, MUTED, GRID, *SERIES))}

_STYLE = {
    "svg.fonttype": "none", "font.size": 10, "axes.titlesize": 10, "axes.titlepad": 9, "text.parse_math": False,
    "axes.titlecolor": _STAND_INS[MUTED], "axes.labelcolor": _STAND_INS[MUTED], "axes.edgecolor": _STAND_INS[GRID],
    "xtick.labelcolor": _STAND_INS[MUTED], "ytick.labelcolor": _STAND_INS[MUTED], "text.color": _STAND_INS[MUTED],
    "xtick.color": _STAND_INS[GRID], "ytick.major.size": 0, "grid.color": _STAND_INS[GRID], "axes.grid": True,
    "axes.grid.axis": "y", "axes.axisbelow": True, "axes.linewidth": 1, "lines.linewidth": 1.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart with its title, what it is about, and what each colour means."""

    title: str
    about: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


def placeholder_color(colour: str) -> str:
    """What to draw with, so that a colour of the page (`INK`, `SERIES`, …) comes out."""
    return _STAND_INS[colour]


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
    """What ``paint`` puts on a pair of axes.

    Args:
        name: unique on the page; the drawing's own identifiers derive from it.
        width, height: in inches.
        below: the share of the height that is left free under the axes.
        left, right: where the axes begin and end, as shares of the width.
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
    """A stand-alone SVG file as an element of a page: its colours, its font, its size, no identifiers of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', ' class="chart" aria-hidden="true"', svg, count=1)
    svg = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for css, colour in _STAND_INS.items():
        svg = svg.replace(colour, css)
    return re.sub(r"\s*\n\s*", "\n", svg)
