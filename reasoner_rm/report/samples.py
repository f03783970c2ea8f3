"""A page of a dataset's samples with prompt, media, target and gold label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reasoner_rm.data.sample_view import SampleView, view_sample
from reasoner_rm.report.media import ThumbnailCache
from reasoner_rm.report.page import asset, environment
from reasoner_rm.schema import Sample
from reasoner_rm.utils.files import atomic_write


def write_samples_page(samples: Sequence[Sample], total: int, source: str | Path, out: str | Path) -> Path:
    """Write one self-contained HTML page of these samples to ``out``.

    Args:
        total: the number of samples in ``source``; the page says so when it shows fewer.
    """
    thumbnails = ThumbnailCache()
    views = [view_sample(sample) for sample in samples]
    page = environment().get_template("samples.html.jinja").render(
        name=Path(source).name,
        total=total,
        sample_views=[(view, thumbnails.render(sample)) for view, sample in zip(views, samples, strict=True)],
        badges=_badge_counts(views),
        style=asset("report.css"),
        own_style=asset("samples.css"),
    )  # fmt: skip
    with atomic_write(out) as file:
        file.write(page.encode("utf-8", "replace").decode())
    return Path(out)


def _badge_counts(views: Sequence[SampleView]) -> list[tuple[str, int]]:
    """The most frequent badges with their counts."""
    return Counter(badge for view in views for badge in view.badges).most_common(14)
