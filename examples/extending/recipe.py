"""A recipe: a table of image pairs with the number of raters who preferred the left one."""

from collections.abc import Iterable

from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import Recipe
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.schema import Sample


def convert(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`prompt`, `left` and `right` (files), `left_votes` of `votes`."""
    votes = row.number_of("votes", 0)
    if votes == 0:
        raise SkipRow("nobody rated it")
    share = row.number_of("left_votes", 0, votes) / votes
    yield pair(row, "image_preference", row.text("prompt"), [row.image("left"), row.image("right")], share)


PAIRS = Recipe("rated_pairs", "pairs of images with the votes of raters", convert, tables=("*.csv",), splits=("train",))
