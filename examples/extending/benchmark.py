"""A benchmark: pairs of images with a human verdict."""

from collections.abc import Iterable

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, compared
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample


def read(row: DatasetRow) -> Iterable[Sample]:
    """`id`, `prompt`, `left`, `right`, `better` (left or right), `kind`."""
    images = [row.image("left"), row.image("right")]
    better = row.one_of("better", {"left": 1.0, "right": 0.0})
    yield compared(
        row, row.text("id"), "image_preference", row.text("prompt"), images, better, by={"kind": row.text("kind")}
    )


RATED_PAIRS = Benchmark(
    "rated_pairs",
    "Rated pairs",
    read,
    columns=("id", "prompt", "left", "right", "better", "kind"),
    tables=("*.csv",),
    protocols=(
        Protocol("both_orders", "each pair in both orders, the mean over kinds", average="macro", over="kind"),
        Protocol("as_given", "each pair once, in the file's order", order="given"),
    ),
)
