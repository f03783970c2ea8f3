"""ImageRewardDB: several images per prompt, ranked by an expert; ranks have gaps and ties."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.pairing import ranking
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow, as_dict, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def imagereward(row: DatasetRow, options: object) -> Iterable[Sample]:
    """The hub's rows (one image each, those of a prompt in sequence), or the repository's `test.json`."""
    if "ranking" in row.values:
        ranks = [as_number(r, "ranking") for r in row.items("ranking", least=2)]
        images = row.images("generations", len(ranks))
        yield from ranking(row, "image_preference", row.text("prompt"), images, ranks)
        return
    members = [as_dict(member, "row") for member in row.items("rows", least=1)]
    if len(members) < 2:
        raise InputError("1 image where 2 or more are due", remedy="correct or remove the row")
    prompts = {as_text(member.get("prompt"), "prompt") for member in members}
    if len(prompts) > 1:
        raise InputError("rows of one prompt_id have different prompts")
    images = [row.refer(member.get("image") or member.get("image_path"), "image") for member in members]
    ranks = [as_number(member.get("rank"), "rank", 1) for member in members]
    yield from ranking(row, "image_preference", prompts.pop(), images, ranks)


IMAGEREWARD = Recipe(
    "imagereward", "ImageRewardDB: 137k pairs of ranked generated images (arXiv 2304.05977)", imagereward,
    hub="THUDM/ImageRewardDB", licence="apache-2.0", tables=("{split}.json", *PARQUET), group_by="prompt_id",
)  # fmt: skip
