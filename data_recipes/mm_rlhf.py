"""MM-RLHF: questions about an image or a video with answers that people scored, ranked and gave reasons for.

`dpo_pairs.jsonl` and the reward benchmark are pairs, their columns those that the authors' own code reads. The
format of `data.jsonl`, with three to five answers per question, is not documented, and no published code reads it.
`mm_rlhf_ranked` expects a list of objects, and options name the fields where they differ; any other layout is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.pairing import pair, ranking
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def mm_rlhf(row: DatasetRow, options: object) -> Iterable[Sample]:
    """A chosen and a rejected answer with the annotators' reasons; `is_tie` is a tie."""
    extra = {name: row.optional(name) for name in ("chosen_reason", "rejected_reason", "margin")}
    p = 0.5 if row.optional("is_tie") else 1.0
    answers = (row.text("chosen"), row.text("rejected"))
    prompt = row.text("prompt")
    return [pair(row, "response_preference", prompt, answers, p, group=_group(row), meta=extra, **_media(row))]


@dataclass(frozen=True, slots=True)
class RankedOptions:
    question: str = option("prompt", "column of the question")
    answers: str = option("responses", "column of the answers, a list of objects")
    text: str = option("response", "an answer's own text, in its object")
    rank: str = option("rank", "its rank there, 1 = best")


def ranked(row: DatasetRow, options: RankedOptions) -> Iterable[Sample]:
    """Every pair of a question's answers by their ranks, in one group."""
    texts, ranks = [], []
    for item in row.items(options.answers, least=2):
        answer = as_dict(item, options.answers)
        for name in (options.text, options.rank):
            if name not in answer:
                what = f"{options.answers}: an answer without {name!r}; there is {', '.join(map(str, answer)):.200}"
                raise InputError(what, remedy="--text and --rank name the fields")
        texts.append(as_text(answer[options.text], f"{options.answers}.{options.text}"))
        ranks.append(as_number(answer[options.rank], f"{options.answers}.{options.rank}", 1))
    if len(set(texts)) == 1:
        raise SkipRow("all answers are the same")
    prompt = row.text(options.question)
    more = {"group": group} if (group := _group(row)) else {}
    return list(ranking(row, "response_preference", prompt, texts, ranks, **more, **_media(row)))


def _media(row: DatasetRow) -> dict[str, Any]:
    """The image or images; a video is a folder of frames."""
    if row.optional("video"):
        return {"videos": [row.video("video")]}
    return {"images": row.images("image", least=1)}


def _group(row: DatasetRow) -> str:
    return f"mm_rlhf-{row.value('id')}" if row.optional("id") is not None else ""


MM_RLHF = Recipe(
    "mm_rlhf", "MM-RLHF: 80k answer pairs ranked by people, and its reward benchmark (arXiv 2502.10391)", mm_rlhf,
    hub="yifanzhang114/MM-RLHF", licence="", tables=("dpo_pairs.jsonl", "{split}*.jsonl", *PARQUET),
)  # fmt: skip
RANKED = Recipe(
    "mm_rlhf_ranked", "MM-RLHF's data.jsonl: 20k questions with three to five ranked answers each", ranked,
    licence="", tables=("data.jsonl",), splits=("train",), options=RankedOptions,
    note="the fields of data.jsonl are documented nowhere: options name them",
)  # fmt: skip
