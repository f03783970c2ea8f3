"""Rapidata's preferences: vote counts, votes weighted by the raters' scores, and videos.

The raters of `preference` and `coherence` did not see the prompt, so a judge of the same question should not either:
the raters' question is the prompt, and the original prompt is in `meta.hidden_caption`, with which templates mention
no caption. `--show-prompt always` shows it anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.pairing import pair, prompt_group
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_number
from reasoner_rm.schema import Sample

QUESTIONS = {
    "preference": "Which {noun} do you prefer?",
    "coherence": "Which {noun} has fewer glitches and is more coherent?",
    "alignment": "",
}


@dataclass(frozen=True, slots=True)
class Options:
    criterion: str = option("preference", "what the raters were asked", choices=tuple(QUESTIONS))
    show_prompt: str = option("as-rated", "whether the judge sees the prompt", choices=("as-rated", "always"))


def votes(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`votes_image1` and `votes_image2`: the share is the label."""
    one, two = row.number_of("votes_image1", 0), row.number_of("votes_image2", 0)
    if one + two == 0:
        raise SkipRow("no votes")
    return [_compared(row, options, "image", one / (one + two), votes=[one, two])]


def weighted(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`weighted_results_image1_<criterion>`: each vote weighed by its rater's score; the pair sums to 1."""
    return [_compared(row, options, "image", _share(row, "weighted_results_image{}_" + options.criterion))]


def video(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`weighted_results1_<Criterion>`, capitalised; files are in `videos/` or `Videos/`."""
    return [_compared(row, options, "video", _share(row, "weighted_results{}_" + options.criterion.capitalize()))]


def _share(row: DatasetRow, column: str) -> float:
    names = [column.format(k) for k in (1, 2)]
    if not all(name in row.values for name in names):
        raise SkipRow(f"no {names[0]}: the set was not rated for it")
    if any(row.optional(name) is None for name in names):
        raise SkipRow("not rated")
    one, two = (as_number(row.values[name], name, 0) for name in names)
    if one + two == 0:
        raise SkipRow("no votes")
    return one / (one + two)


def _compared(row: DatasetRow, options: Options, noun: str, p: float, **extra: Any) -> Sample:
    caption = row.text("prompt")
    hidden = options.show_prompt == "as-rated" and QUESTIONS[options.criterion]
    shown = QUESTIONS[options.criterion].format(noun=noun) if hidden else caption
    if noun == "image":
        media: list[Any] = [row.image("image1"), row.image("image2")]
    else:
        media = [clip(row, f"file_name{k}" if f"file_name{k}" in row.values else f"video{k}") for k in (1, 2)]
    if hidden:
        extra["hidden_caption"] = caption
    extra |= {"criterion": options.criterion, **{name: row.optional(name) for name in ("model1", "model2")}}
    group = prompt_group(caption)
    return pair(row, f"{noun}_preference", shown, media, p, group=group, meta=extra)


def clip(row: DatasetRow, column: str) -> Any:
    """The video in a column; a bare name is looked for in `videos/` and `Videos/`."""
    value = row.value(column)
    named = isinstance(value, str) and "/" not in value
    folder = next((f for f in ("videos", "Videos") if row.media.has(f)), "videos") if named else ""
    return row.video(column, folder)


VOTES = Recipe(
    "rapidata", "Rapidata 700k: 26k pairs of four image models with 26 votes each", votes,
    hub="Rapidata/700k_Human_Preference_Dataset_FLUX_SD3_MJ_DALLE3", licence="cdla-permissive-2.0",
    tables=PARQUET, splits=("train_0001",), options=Options, unread=("detailed_results",),
    note="its splits are train_0001 to train_0026",
)  # fmt: skip
WEIGHTED = Recipe(
    "rapidata_weighted", "Rapidata's <model>_t2i_human_preference sets: pairs with weighted votes", weighted,
    licence="cdla-permissive-2.0", options=Options, unread=tuple(f"detailed_results_{name}" for name in QUESTIONS),
)  # fmt: skip
VIDEO = Recipe(
    "rapidata_video", "Rapidata's text-to-video sets: pairs of videos with weighted votes", video,
    licence="cdla-permissive-2.0", tables=(*PARQUET, "*.jsonl", "metadata.csv"), options=Options,
    unread=tuple(f"detailedResults_{name.capitalize()}" for name in QUESTIONS),
)  # fmt: skip
