"""VideoGen-RewardBench: pairs of generated videos, judged in three aspects and overall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.schema import Sample

ASPECTS = ("Overall", "VQ", "MQ", "TA")


@dataclass(frozen=True, slots=True)
class Options:
    aspect: str = option("Overall", "overall, visual quality, motion quality or text alignment", choices=ASPECTS)


def videogen(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`path_A`, `path_B` and a verdict `A`, `B` or `same` in each aspect; `same` is a tie."""
    p = row.one_of(options.aspect, {"A": 1.0, "B": 0.0, "same": 0.5})
    clips = [row.video("path_A"), row.video("path_B")]
    extra = {"aspect": options.aspect, **{name: row.optional(name) for name in ("A_model", "B_model")}}
    return [pair(row, "video_preference", row.text("prompt"), clips, p, meta=extra)]


VIDEOGEN = Recipe(
    "videogen_rb", "VideoGen-RewardBench: 26.5k pairs of generated videos (arXiv 2501.13918)", videogen,
    hub="KlingTeam/VideoGen-RewardBench", licence="apache-2.0", tables=("*.csv", "data/*.csv"), splits=("eval",),
    options=Options, note="extract each film's frames into a folder of its name without suffix",
)  # fmt: skip
