"""EditReward: edits of an image by an instruction; training pairs with the winner first; rankings of two to four."""

from __future__ import annotations

from collections.abc import Iterable

from data_recipes.hpd import Hpdv3Options, share, stated
from reasoner_rm.data.pairing import pair, prompt_group, ranking, ranks_of
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_number, as_text
from reasoner_rm.schema import Sample


def data(row: DatasetRow, options: Hpdv3Options) -> Iterable[Sample]:
    """Like HPDv3, with a source image `path_src`."""
    confidence = stated(row, "confidence")
    if confidence is not None and as_number(confidence, "confidence", 0, 1) < options.min_confidence:
        raise SkipRow(f"confidence below {options.min_confidence:g}")
    p = share(stated(row, "choice_dist")) if options.soft else 1.0
    edits = [row.image("path1"), row.image("path2")]
    prompt, source = row.text("prompt"), row.image("path_src")
    extra = {name: stated(row, name) for name in ("confidence", "model1", "model2")}
    group = prompt_group(f"{prompt}\n{row.value('path_src')}")
    return [pair(row, "edit_preference", prompt, edits, p, shared=[source], group=group, meta=extra)]


def bench(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`human_vote.ranking` such as `A>B>C` or `A=B=Good` over `paths_generated`."""
    edits = row.images("paths_generated", least=2)
    ranking_text = as_text(as_dict(row.parsed("human_vote"), "human_vote").get("ranking"), "human_vote.ranking")
    ranks = ranks_of(ranking_text, len(edits))
    source = row.image("path_src")
    prompt = row.text("prompt")
    group = prompt_group(f"{prompt}\n{row.value('path_src')}")
    return ranking(row, "edit_preference", prompt, edits, ranks, shared=[source], group=group)


DATA = Recipe(
    "editreward", "EditReward-Data: 200k pairs of edited images (arXiv 2509.26346)", data,
    licence="", tables=("{split}.json", "*.json", *PARQUET), splits=("train",), options=Hpdv3Options,
)  # fmt: skip
BENCH = Recipe(
    "editreward_bench", "EditReward-Bench: rankings of two to four edits (arXiv 2509.26346)", bench,
    hub="TIGER-Lab/EditReward-Bench", licence="", tables=("{split}.json", "*.json"), splits=("test",),
)  # fmt: skip
