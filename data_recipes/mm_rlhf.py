"""MM-RLHF's pairs: a question about an image or a video, a chosen and a rejected answer, with the people's reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reasoner_rm.data.comparing import pair
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.record import Record
from reasoner_rm.schema import Sample


def mm_rlhf(row: Record, options: object) -> Iterable[Sample]:
    """`dpo_pairs.jsonl` and the reward benchmark; a video is a folder of frames; `is_tie` is a tie."""
    media: dict[str, Any] = {}
    if row.maybe("video"):
        media["videos"] = [row.video("video")]
    else:
        media["images"] = [*row.images("image", least=1)]
    extra = {name: row.maybe(name) for name in ("chosen_reason", "rejected_reason", "margin")}
    p = 0.5 if row.maybe("is_tie") else 1.0
    group = f"mm_rlhf-{row.value('id')}" if row.maybe("id") is not None else ""
    answers = (row.text("chosen"), row.text("rejected"))
    return [pair(row, "response_preference", row.text("prompt"), answers, p, group=group, meta=extra, **media)]


MM_RLHF = Recipe(
    "mm_rlhf", "MM-RLHF: 80k answer pairs ranked by people, and its reward benchmark (arXiv 2502.10391)", mm_rlhf,
    hub="yifanzhang114/MM-RLHF", licence="", tables=("dpo_pairs.jsonl", "{split}*.jsonl", *PARQUET),
)  # fmt: skip
