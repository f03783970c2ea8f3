"""Human Preference Dataset: v2 (pairs to train on, rankings to test on) and v3, where the first path is the winner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reasoner_rm.data.pairing import pair, ranking
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_list, as_number
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def hpdv2(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`train.json`: `file_path` and a one-hot or soft `human_preference`; `test.json`: `image_path` and `rank`."""
    prompt = row.text("prompt")
    if "rank" in row.values:
        images = row.images("image_path", least=2, folder="test")
        ranks = [as_number(r, "rank") for r in row.items("rank", len(images))]
        return ranking(row, "image_preference", prompt, images, ranks)
    images = row.images("file_path", 2, folder="train")
    one, two = (as_number(v, "human_preference", 0) for v in row.items("human_preference", 2))
    if one + two == 0:
        raise InputError("human_preference prefers nothing", remedy="correct or remove the row")
    return [pair(row, "image_preference", prompt, images, one / (one + two))]


@dataclass(frozen=True, slots=True)
class Hpdv3Options:
    min_confidence: float = option(0.0, "leave out rows of less confidence; those that state none stay")
    soft: bool = option(True, "use the share of choices as a soft label, where it is stated")


def hpdv3(row: DatasetRow, options: Hpdv3Options) -> Iterable[Sample]:
    """`path1` is the winner; `choice_dist` the votes, `confidence` a number: both may be null, or the text "null"."""
    confidence = stated(row, "confidence")
    if confidence is not None and as_number(confidence, "confidence", 0, 1) < options.min_confidence:
        raise SkipRow(f"confidence below {options.min_confidence:g}")
    images = [row.image("path1"), row.image("path2")]
    extra = {k: stated(row, k) for k in ("confidence", "model1", "model2")}
    p = share(stated(row, "choice_dist")) if options.soft else 1.0
    return [pair(row, "image_preference", row.text("prompt"), images, p, meta=extra)]


def stated(row: DatasetRow, column: str) -> object | None:
    """A value; the text "null" counts as missing."""
    value = row.optional(column)
    return None if value == "null" else value


def share(choices: object | None) -> float:
    """The winner's share of the votes; 1 where they are unknown."""
    if choices is None:
        return 1.0
    votes = [as_number(v, "choice_dist", 0) for v in as_list(choices, "choice_dist", 2)]
    if sum(votes) == 0:
        raise InputError("choice_dist holds no vote", remedy="correct or remove the row")
    return max(votes) / sum(votes)


HPDV2 = Recipe(
    "hpdv2", "HPDv2: 798k choices between generated images (arXiv 2306.09341)", hpdv2,
    hub="ymhao/HPDv2", licence="apache-2.0", tables=("{split}.json",), splits=("train", "test"),
)  # fmt: skip
HPDV3 = Recipe(
    "hpdv3", "HPDv3: 1.17M choices between generated and real images (arXiv 2508.03789)", hpdv3,
    hub="MizzenAI/HPDv3", licence="mit", tables=("{split}.json", "*{split}*.json"), splits=("train", "test"),
    options=Hpdv3Options, note="unpack images.tar.gz.* first: reasoner-rm data unpack",
)  # fmt: skip
