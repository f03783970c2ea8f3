"""LLaVA-Critic-113k: judgements of one answer or of two, as conversations about an image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from data_recipes.unifiedreward import scale_of
from reasoner_rm.data.conversation_text import asked, candidates, exchange, section, strip_placeholders
from reasoner_rm.data.pairing import pair, prompt_group
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

_FIRST = re.compile(r"\b(?:first|(?:answer|response|assistant) [1A])\b[^.\n]{0,60}\b(?:better|superior|prefer)", re.I)
_SECOND = re.compile(r"\b(?:second|(?:answer|response|assistant) [2B])\b[^.\n]{0,60}\b(?:better|superior|prefer)", re.I)
_TIE = re.compile(r"\b(?:equally (?:good|bad)|tie|comparable|of equal quality)\b", re.IGNORECASE)
_SCORE = re.compile(r"(?:score|rating)\W*?(\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    scale: str = option("0,100", "LOW,HIGH of the scores of single answers")


def llava_critic(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`conversations` and `image`: a pair where the instruction quotes two answers, else a score."""
    instruction, answer = exchange(row.items("conversations"), "conversations")
    images, prompt = row.images("image", least=1), asked(instruction)
    try:
        answers = candidates(instruction)
    except InputError:
        return [_single(row, instruction, prompt, images, answer, options)]
    return [pair(row, "response_preference", prompt, answers, preference(answer), images=images)]


def preference(text: str) -> float:
    """The preference of a judgement in prose for the first answer; its last sentence with a preference counts."""
    found = [(m.start(), p) for pattern, p in ((_FIRST, 1.0), (_SECOND, 0.0), (_TIE, 0.5))
             for m in pattern.finditer(text)]  # fmt: skip
    if not found:
        raise InputError(f"no preference in {text[-60:]!r}", remedy="correct or remove the row")
    return max(found)[1]


def _single(
    row: DatasetRow, instruction: str, prompt: str, images: list[str], answer: str, options: Options
) -> Sample:  # fmt: skip
    scores = _SCORE.findall(answer) or re.findall(r"^\s*(\d+(?:\.\d+)?)\s*$", answer, re.MULTILINE)
    if not scores:
        raise InputError(f"no score in {answer[-60:]!r}", remedy="correct or remove the row")
    response = section(strip_placeholders(instruction), "(?:the )?(?:answer|response)")
    question = f"{prompt}\n\nAnswer: {response}" if response else prompt
    low, high = scale_of(options.scale) or (0, 100)
    return Sample(
        id=row.name, task="pointwise", prompt=question, images=tuple(images), gold={"score": float(scores[-1])},
        group_id=prompt_group(prompt), source=row.source, meta={"scale": [low, high]},
    )  # fmt: skip


LLAVA_CRITIC = Recipe(
    "llava_critic", "LLaVA-Critic-113k: judgements of answers, pairwise and pointwise (arXiv 2410.02712)", llava_critic,
    hub="lmms-lab/llava-critic-113k", licence="apache-2.0",
    tables=(*PARQUET, "**/*{split}*.json", "*.parquet"), splits=("train",), options=Options,
)  # fmt: skip
