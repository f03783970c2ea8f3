"""Conversations about images (LLaVA, ShareGPT, Vision-R1-cold): each answer is one sample, all of a row one group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from data_recipes.llava_rlhf import dialogue
from reasoner_rm.data.conversation_text import turns
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.parsing import last_element
from reasoner_rm.tasks.qa import MAX_ANSWER


@dataclass(frozen=True, slots=True)
class Options:
    turns: str = option("all", "which answers of a conversation become samples", choices=("all", "first", "last"))
    text_only: bool = option(False, "keep rows without an image")


def talk(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`conversations` or `messages`, with `image` or `images`. The earlier turns are part of an answer's prompt."""
    column = "messages" if "messages" in row.values else "conversations"
    spoken = [turn for turn in turns(row.items(column), column) if turn[0] != "system"]
    pictures = "images" if "images" in row.values else "image"
    images = row.images(pictures) if row.optional(pictures) else []
    if not images and not options.text_only:
        raise SkipRow("no image")
    roles = [role for role, _ in spoken]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise InputError(f"{column}: question and answer do not take turns", remedy="correct or remove the row")
    ends = list(range(1, len(spoken), 2))
    ends = ends[:1] if options.turns == "first" else ends[-1:] if options.turns == "last" else ends
    return [_answered(row, spoken[: end + 1], images, f"-{end // 2}" if len(ends) > 1 else "") for end in ends]


def cold(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """The same, where every answer reasons first: a turn without `<think>` and `<answer>` is a bad row."""
    for sample in talk(row, options):
        for tag in ("think", "answer"):
            if last_element(sample.target or "", tag) is None:
                raise InputError(f"the answer holds no <{tag}>", remedy="build it with llava or sharegpt")
        yield sample


def _answered(row: DatasetRow, spoken: list[tuple[str, str]], images: list[str], part: str) -> Sample:
    target = spoken[-1][1]
    answer = last_element(target, "answer") or target
    if len(answer) > MAX_ANSWER:
        raise SkipRow(f"an answer of more than {MAX_ANSWER} characters")
    return Sample(
        id=row.name + part, task="qa", prompt=dialogue(spoken[:-1]), images=tuple(images), target=target,
        gold={"answer": answer, "kind": "text"}, group_id=row.name, source=row.source,
    )  # fmt: skip


FILES = ("{split}*.json", "{split}*.jsonl", *PARQUET, "*.json", "*.jsonl", "*.parquet")
LLAVA = Recipe(
    "llava", "LLaVA's instruction data, and all sets of its form (arXiv 2304.08485)", talk,
    hub="lmms-lab/LLaVA-NeXT-Data", licence="apache-2.0", tables=FILES, splits=("train",), options=Options,
)  # fmt: skip
SHAREGPT = Recipe(
    "sharegpt", "any set of ShareGPT's form: messages or conversations, with images", talk,
    tables=FILES, splits=("train",), options=Options,
)  # fmt: skip
COLD = Recipe(
    "vision_r1_cold", "Vision-R1-cold: 200k reasoned answers for a cold start (arXiv 2503.06749)", cold,
    hub="Osilly/Vision-R1-cold", licence="", tables=FILES, splits=("train",), options=Options,
)  # fmt: skip
