"""A validation report for readers: a table for the terminal, a page with histograms and pictures."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.data.io import atomic
from reasoner_rm.data.validation import Report

BARS = 24
TEMPLATE = Path(__file__).parent / "templates" / "validation.html.jinja"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram that is 300 wide and 70 high."""

    x: float
    width: float
    height: float
    count: int
    low: str
    high: str

    @property
    def label(self) -> str:
        return self.low if self.low == self.high else f"{self.low} to {self.high}"


def facts(report: Report) -> list[tuple[str, str]]:
    """What the set holds, in words."""
    found = [("rows", str(report.rows)), ("images", str(report.images))]
    found += [(task, f"{n} rows") for task, n in report.tasks.most_common()]
    found += [(name, str(value)) for name, value in report.facts.items()]
    for name, values in report.values.items():
        found.append((name, f"{min(values):g} to {max(values):g}, median {_median(values):g}"))
    return found


def in_text(report: Report) -> str:
    """A table for a terminal: what there is, then every kind of finding with its first row."""
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
        facts=facts(report),
        histograms=[(name, histogram(values)) for name, values in report.values.items()],
        pictures=[(caption, base64.b64encode(data).decode()) for caption, data in report.pictures],
    )  # fmt: skip
    with atomic(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return out


def histogram(values: Counter[float]) -> list[Bar]:
    """Bars of equal width from the least to the greatest value; one for each value where there are few."""
    low, high = min(values), max(values)
    if len(values) <= BARS:
        counts = [(value, value, n) for value, n in sorted(values.items())]
    else:
        step, bins = (high - low) / BARS, [0] * BARS
        for value, n in values.items():
            bins[min(BARS - 1, int((value - low) / step))] += n
        counts = [(low + i * step, low + (i + 1) * step, n) for i, n in enumerate(bins)]
    most, width = max(n for _, _, n in counts), 300 / len(counts)
    return [
        Bar(round(i * width, 2), round(width * 0.9, 2), round(70 * n / most, 2), n, f"{a:.4g}", f"{b:.4g}")
        for i, (a, b, n) in enumerate(counts)
    ]


def _median(values: Counter[float]) -> float:
    half, seen = sum(values.values()) / 2, 0
    for value, n in sorted(values.items()):
        seen += n
        if seen >= half:
            return value
    return 0.0
