"""MJ-Bench-Video: pairs of generated videos, preferred overall and in five aspects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

VERDICTS = {"video_0": 1.0, "video_1": 0.0, "same": 0.5}


@dataclass(frozen=True, slots=True)
class Options:
    aspect: str = option("", "an aspect such as Alignment or Safety, instead of the overall preference")


def mj_video(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`overall_preference` and `category_preference` are video_0, video_1 or Same; discarded rows are left out."""
    if row.optional("discard"):
        raise SkipRow("discarded by the annotators")
    preference = row.value("overall_preference")
    if options.aspect:
        preference = as_dict(row.parsed("category_preference"), "category_preference").get(options.aspect)
    if not isinstance(preference, str) or preference.lower() not in VERDICTS:
        raise InputError(f"the preference is {preference!r:.60}", remedy="use one of video_0, video_1, Same")
    clips = [row.video("video_0_path"), row.video("video_1_path")]
    return [pair(row, "video_preference", row.text("caption"), clips, VERDICTS[preference.lower()])]


MJ_VIDEO = Recipe(
    "mjbench_video", "MJ-Bench-Video: pairs of generated videos with 28 criteria (arXiv 2502.01719)", mj_video,
    tables=("{split}.json", "{split}*.parquet", "data/{split}*.parquet"), options=Options,
)  # fmt: skip
