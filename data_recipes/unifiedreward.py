"""UnifiedReward's sets: pairs and single items of images, videos and answers as conversations; and its CoT set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from data_recipes.answer_formats import ParsedAnswer, parse_answer
from reasoner_rm.data.conversation_text import asked, candidates, exchange
from reasoner_rm.data.pairing import pair, prompt_group
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task

TASKS = {"Image": "image_preference", "Video": "video_preference", "Answer": "response_preference"}


@dataclass(frozen=True, slots=True)
class Options:
    scale: str = option("", "LOW,HIGH of a `Final Score` (by default by the answer format: 1,5, 1,10 or 0,100)")
    noun: str = option("Image", "what is compared where the answer does not say", choices=tuple(TASKS))


def unified(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`conversations` and `images`, or `problem`, `solution` and `images`: in any of the answer formats."""
    instruction, answer = split_turns(row)
    parsed = parse_answer(answer, options.noun, scale_of(options.scale))
    if parsed.p_first is None:
        return [_single(row, instruction, parsed)]
    return [_pair(row, instruction, parsed, target=None)]


def cot(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """Reasoned verdicts for a cold start: the assistant's turn is the target and stays in its own order."""
    instruction, answer = split_turns(row)
    parsed_answer = parse_answer(answer, options.noun)
    if parsed_answer.p_first is None:
        raise InputError("the answer compares nothing", remedy="build it with unifiedreward")
    sample = _pair(row, instruction, parsed_answer, target=answer.strip())
    parsed = get_task(sample.task).parse(answer, sample)
    if not parsed.well_formed:
        raise InputError(f"no reasoned verdict: {parsed.parse_error}", remedy="correct or remove the row")
    return [sample]


def split_turns(row: DatasetRow) -> tuple[str, str]:
    """The instruction and the answer."""
    if "problem" in row.values:
        return row.text("problem"), row.text("solution")
    return exchange(row.items("conversations"), "conversations")


def scale_of(text: str) -> tuple[float, float] | None:
    """LOW,HIGH as numbers; None for an empty text."""
    if not text:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise InputError(f"scale is {text!r}", remedy="give LOW,HIGH such as 1,5") from None
    return low, high


def _pair(row: DatasetRow, instruction: str, parsed: ParsedAnswer, target: str | None) -> Sample:
    task, p = TASKS[parsed.noun], parsed.p_first
    assert p is not None
    prompt = asked(instruction)
    order = [0, 1] if target is not None else None
    more: dict[str, Any] = {"meta": parsed.more, "target": target, "order": order}
    if parsed.noun == "Answer":
        media = row.images("images") if row.optional("images") else []
        return pair(row, task, prompt, candidates(instruction), p, images=media, **more)
    if parsed.noun == "Video":
        clips = _clips(row)
        return pair(row, task, prompt, clips, p, **more)
    return pair(row, task, prompt, row.images("images", 2), p, **more)


def _clips(row: DatasetRow) -> list[object]:
    """Two videos, or one list with the frames of both, half for each."""
    items = row.items("images" if "images" in row.values else "videos", least=2)
    if len(items) == 2:
        return [row.media.video(item) for item in items]
    if len(items) % 2:
        raise InputError(f"images holds {len(items)} frames, which two videos cannot share")
    frames = [row.refer(item, "images") for item in items]
    return [tuple(frames[: len(frames) // 2]), tuple(frames[len(frames) // 2 :])]


def _single(row: DatasetRow, instruction: str, parsed: ParsedAnswer) -> Sample:
    prompt, gold = asked(instruction), {"score": parsed.score}
    if parsed.aspects:
        gold |= {"aspects": parsed.aspects}  # type: ignore[dict-item]
    return Sample(
        id=row.name, task="pointwise", prompt=prompt, gold=gold, group_id=prompt_group(prompt), source=row.source,
        meta={"scale": list(parsed.scale), **parsed.more}, **_shown(row, instruction),
    )  # fmt: skip


def _shown(row: DatasetRow, instruction: str) -> dict[str, Any]:
    """The one image; or the one video, where the row has `videos`, several frames, or mentions a `<video>`."""
    items = row.items("videos" if row.optional("videos") else "images", least=1)
    if not row.optional("videos") and len(items) == 1 and "<video>" not in instruction:
        return {"images": (row.refer(items[0], "images"),)}
    return {"videos": (row.media.video(items[0] if len(items) == 1 else items),)}


TABLES = ("{split}_data.json", "{split}.json", "**/{split}_data.json", "{split}*.parquet", "data/{split}*.parquet")
UNIFIED = Recipe(
    "unifiedreward", "UnifiedReward's sets, pair, point and video (CodeGoat24/*, arXiv 2503.05236)", unified,
    licence="mit", tables=TABLES, splits=("train",), options=Options,
)  # fmt: skip
COT = Recipe(
    "imagegen_cot", "ImageGen-CoT-Reward-5K: reasoned verdicts for a cold start (arXiv 2505.03318)", cot,
    hub="CodeGoat24/ImageGen-CoT-Reward-5K", licence="mit", tables=TABLES, splits=("train",), options=Options,
)  # fmt: skip
