"""Conversations about images (LLaVA, ShareGPT, ms-swift, LLaMA-Factory, Vision-R1-cold).

Each answer is one sample, all of a row one group. A row with a chosen and a rejected answer is a preference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from data_recipes.llava_rlhf import dialogue
from reasoner_rm.data.conversation_text import IMAGE, pictures, turns
from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.parsing import last_element
from reasoner_rm.tasks.qa import MAX_ANSWER, answer_kind


@dataclass(frozen=True, slots=True)
class Options:
    turns: str = option("all", "which answers of a conversation become samples", choices=("all", "first", "last"))
    text_only: bool = option(False, "keep rows without an image")


def talk(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`conversations` or `messages`, with `image` or `images`, or with images in the parts of the turns.

    The earlier turns are part of an answer's prompt, with the images that they and its question show. Two answers to
    the last question are a preference.
    """
    column = "messages" if "messages" in row.values else "conversations"
    spoken = [turn for turn in turns(row.items(column), column) if turn[0] != "system"]
    _check_read(row, spoken)
    images = _images(row, column)
    if not images and not options.text_only:
        raise SkipRow("no image")
    rejected = _rejected(row, spoken, column)
    if rejected is not None:
        return [_preference(row, *rejected, images, column)]
    _check_roles(spoken, column)
    ends = list(range(1, len(spoken), 2))
    ends = ends[:1] if options.turns == "first" else ends[-1:] if options.turns == "last" else ends
    parts = [(end, f"-{end // 2}" if len(ends) > 1 else "") for end in ends]
    return [_answered(row, spoken[: end + 1], _shown(spoken, end, images, column), part) for end, part in parts]


def _images(row: DatasetRow, column: str) -> list[str]:
    """The row's images: of their column, or else of the parts of the turns."""
    stated = "images" if "images" in row.values else "image"
    if row.optional(stated):
        return row.images(stated)
    return [row.refer(value, column) for value in pictures(row.items(column), column)]


def _check_read(row: DatasetRow, spoken: list[tuple[str, str]]) -> None:
    """Check that the row states nothing beside its images that changes what its answers mean."""
    for name in ("video", "videos", "audio", "audios"):
        if row.optional(name):
            raise SkipRow(f"it has {name}")
    if row.optional("kto_tag") is False or row.optional("label") is False:
        raise SkipRow("its answer is labelled as a bad one")
    if row.optional("objects") and any("<bbox>" in text or "<ref-object>" in text for _, text in spoken):
        raise InputError("boxes and names in `objects` are not read", remedy="write them into the texts")


def _check_roles(spoken: list[tuple[str, str]], column: str) -> None:
    roles = [role for role, _ in spoken]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise InputError(f"{column}: question and answer do not take turns", remedy="correct or remove the row")


def _shown(spoken: list[tuple[str, str]], end: int, images: list[str], column: str) -> list[str]:
    """The images shown before the answer at ``end``: those with a place in the turns up to it; all if none has one."""
    places = [text.count(IMAGE) for _, text in spoken]
    if sum(places) not in (0, len(images)):
        what = f"{column}: {sum(places)} places of images for {len(images)} images"
        raise InputError(what, remedy="list them all in the column, or remove the row")
    if places[end]:
        raise InputError(f"{column}: an answer shows an image", remedy="remove the row")
    return images[: sum(places[:end])] if sum(places) else images


def _rejected(
    row: DatasetRow, spoken: list[tuple[str, str]], column: str
) -> tuple[list[tuple[str, str]], str, str] | None:
    """The turns before two answers, the chosen and the rejected one; None if the row has one answer to each question.

    ms-swift's rows end with the chosen answer and have `rejected_response` or `rejected_messages`; LLaMA-Factory's end
    with the question and have `chosen` and `rejected`.
    """
    if row.optional("chosen") and row.optional("rejected"):
        (_, chosen), (_, rejected) = (turns([row.value(name)], name)[0] for name in ("chosen", "rejected"))
        return spoken, chosen, rejected
    if row.optional("rejected_response"):
        return spoken[:-1], spoken[-1][1], row.text("rejected_response")
    if row.optional("rejected_messages"):
        other = [turn for turn in turns(row.items("rejected_messages"), "rejected_messages") if turn[0] != "system"]
        shown = [pictures(row.items(name), name) for name in (column, "rejected_messages")]
        same = other[:-1] == spoken[:-1] and shown[0] == shown[1]
        if not same or row.optional("rejected_images") not in (None, [], row.optional("images")):
            raise InputError(
                "rejected_messages differ in more than the last answer", remedy="correct or remove the row"
            )
        return spoken[:-1], spoken[-1][1], other[-1][1]
    return None


def _preference(
    row: DatasetRow, before: list[tuple[str, str]], chosen: str, rejected: str, images: list[str], column: str
) -> Sample:
    spoken = [*before, ("assistant", chosen)]
    _check_roles(spoken, column)
    if chosen == rejected:
        raise InputError("chosen and rejected are the same", remedy="remove the row")
    shown = _shown([*before, ("assistant", chosen + rejected)], len(before), images, column)
    return pair(row, "response_preference", dialogue(before), (chosen, rejected), 1.0, images=shown)


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
        gold={"answer": answer, "kind": answer_kind(answer)}, group_id=row.name, source=row.source,
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
