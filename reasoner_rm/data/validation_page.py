"""The validation report: a table for the terminal, a page with histograms and thumbnails."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.data.validation import Report
from reasoner_rm.utils.files import atomic_write

BARS = 24
FEW = 7
"""Up to this number of distinct values have a labelled bar each; more become a histogram with bins."""
TEMPLATE = Path(__file__).parent / "templates" / "validation.html.jinja"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram of 300 x 70 units; ``own`` is the label below it."""

    x: float
    width: float
    height: float
    count: int
    low: str
    high: str
    own: bool = False

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 2)

    @property
    def label(self) -> str:
        return self.low if self.low == self.high else f"{self.low} to {self.high}"


def facts(report: Report) -> list[tuple[str, str]]:
    """The content of the set as text."""
    found = [("rows", f"{report.rows:,}"), ("images", f"{report.images:,}")]
    found += [(task, counted(n, "row")) for task, n in report.tasks.most_common()]
    found += [(name, str(value)) for name, value in report.facts.items()]
    for name, values in report.values.items():
        low, high = min(values), max(values)
        found.append((name, f"{low:g}" if low == high else f"{low:g} to {high:g}, median {_median(values):g}"))
    return found


def counted(n: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{n:,} {noun}" + "s" * (n != 1)


def in_text(report: Report) -> str:
    """A table for a terminal: the content, then every kind of finding with its first row."""
    lines = [f"{name:28} {value}" for name, value in facts(report)]
    for kind, finding in report.findings.items():
        lines.append(f"{finding.severity:8} {kind} ({finding.count}): {finding.examples[0]}")
    return "\n".join(lines)


def write_page(report: Report, out: Path) -> Path:
    """One self-contained page."""
    import jinja2

    page = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=report.file.name,
        report=report,
        verdict=f"Training would fail: {counted(report.errors, 'error')}." if report.errors else "Ready for training.",
        findings=[(kind, f.severity, f.count, [_short(report, text) for text in f.examples]) for kind, f in
                  report.findings.items()],
        facts=facts(report),
        histograms=[(name, histogram(values)) for name, values in report.values.items()],
        pictures=[(caption, base64.b64encode(data).decode()) for caption, data in report.pictures],
    )  # fmt: skip
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return out


def _short(report: Report, text: str) -> str:
    """An example without the file's name, which is the heading."""
    return re.sub(rf"^{re.escape(str(report.file))}:(\d+): ", r"line \1: ", text)


def histogram(values: Counter[float]) -> list[Bar]:
    """Bars of equal width from the least to the greatest value; one for each value where there are few."""
    low, high, few = min(values), max(values), len(values) <= FEW
    if few:
        counts = [(value, value, n) for value, n in sorted(values.items())]
    else:
        step, bins = (high - low) / BARS, [0] * BARS
        for value, n in values.items():
            bins[min(BARS - 1, int((value - low) / step))] += n
        counts = [(low + i * step, low + (i + 1) * step, n) for i, n in enumerate(bins)]
    most, step = max(n for _, _, n in counts), 300 / len(counts)
    width = min(0.9 * step, 60)
    return [
        Bar(
            round(i * step + (step - width) / 2, 2), round(width, 2), round(70 * n / most, 2), n, f"{a:.4g}",
            f"{b:.4g}", few,
        )
        for i, (a, b, n) in enumerate(counts)
    ]  # fmt: skip


def _median(values: Counter[float]) -> float:
    half, seen = sum(values.values()) / 2, 0
    for value, n in sorted(values.items()):
        seen += n
        if seen >= half:
            return value
    return 0.0
