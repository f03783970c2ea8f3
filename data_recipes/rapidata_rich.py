"""Rapidata's rich feedback: one image or video, rated in three ways, with the prompt words that are missing in it.

Alignment was rated with the prompt; coherence, style and physics without it, so the raters' question is the prompt, as
in `rapidata`. The columns are those of the published cards, which do not state the scale of the scores; scores outside
the assumed one are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from data_recipes.rapidata import clip
from data_recipes.unifiedreward import scale_of
from reasoner_rm.data.pairing import prompt_group
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_list, as_number, as_text
from reasoner_rm.schema import Sample

QUESTIONS = {
    "alignment": "",
    "coherence": "How coherent is the image, and how free of glitches?",
    "style": "How much do you like the way the {noun} looks?",
    "physics": "How plausibly do things in the video move, collide and act on one another?",
}
IMAGE_ASPECTS, VIDEO_ASPECTS = ("alignment", "coherence", "style"), ("alignment", "physics", "style")


@dataclass(frozen=True, slots=True)
class Options:
    criterion: str = option("alignment", "which score is asked for", choices=IMAGE_ASPECTS)
    scale: str = option("1,5", "LOW,HIGH of the scores")
    show_prompt: str = option("as-rated", "whether the judge sees the prompt", choices=("as-rated", "always"))


@dataclass(frozen=True, slots=True)
class VideoOptions(Options):
    criterion: str = option("alignment", "which score is asked for", choices=VIDEO_ASPECTS)


def image(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`<aspect>_score`, and `word_scores`, a JSON text of [word, how badly it is shown]."""
    aspects = _aspects(row, "{}_score", IMAGE_ASPECTS)
    words = [as_list(item, "word_scores", 2) for item in as_list(row.parsed("word_scores"), "word_scores")]
    found = [[as_text(word, "word_scores"), as_number(score, "word_scores", 0)] for word, score in words]
    return [_rated(row, options, "image", aspects, found, images=(row.image("image"),))]


def video(row: DatasetRow, options: VideoOptions) -> Iterable[Sample]:
    """`likert_score_<aspect>` and `aligned_words_results`; the film is `filename`, its frames in a folder beside it."""
    aspects = _aspects(row, "likert_score_{}", VIDEO_ASPECTS)
    found = []
    for item in row.items("aligned_words_results") if row.optional("aligned_words_results") else []:
        picked = as_dict(item, "aligned_words_results")
        word = as_text(picked.get("word"), "aligned_words_results.word")
        found.append([word, as_number(picked.get("selectedAmount"), "aligned_words_results.selectedAmount", 0)])
    return [_rated(row, options, "video", aspects, found, videos=(clip(row, "filename"),))]


def _aspects(row: DatasetRow, column: str, names: Iterable[str]) -> dict[str, float]:
    """The scores that are there; a missing or empty one was not rated."""
    columns = {name: column.format(name) for name in names}
    return {name: row.number_of(c) for name, c in columns.items() if row.optional(c) is not None}


def _rated(
    row: DatasetRow, options: Options, noun: str, aspects: dict[str, float], words: list[list[Any]], **media: Any
) -> Sample:  # fmt: skip
    if options.criterion not in aspects:
        raise SkipRow(f"not rated for {options.criterion}")
    caption, scale = row.text("prompt"), list(scale_of(options.scale) or (1, 5))
    question = QUESTIONS[options.criterion].format(noun=noun) if options.show_prompt == "as-rated" else ""
    meta: dict[str, Any] = {"criterion": options.criterion, "scale": scale}
    meta |= {"hidden_caption": caption} if question else {}
    meta |= {"word_scores": words} if words else {}
    return Sample(
        id=row.name, task="pointwise", prompt=question or caption, gold={"score": aspects[options.criterion],
        "aspects": aspects}, group_id=prompt_group(caption), source=row.source, meta=meta, **media,
    )  # fmt: skip


RICH = Recipe(
    "rapidata_rich", "Rapidata's rich feedback: 13k images with three scores and word scores", image,
    hub="Rapidata/text-2-image-Rich-Human-Feedback", licence="apache-2.0", splits=("train",), options=Options,
    unread=("alignment_heatmap", "coherence_heatmap"),
)  # fmt: skip
RICH_VIDEO = Recipe(
    "rapidata_rich_video", "Rapidata's rich feedback on videos: alignment, physics, style", video,
    hub="Rapidata/text-2-video-Rich-Human-Feedback", licence="apache-2.0", splits=("train",), options=VideoOptions,
    note="extract each film's frames into a folder of its name without suffix",
)  # fmt: skip
