"""R1-Reward-RL: a chat as JSON text that asks which of two answers is better, and the verdict in an answer element."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reasoner_rm.data.conversation_text import asked, candidates, pictures, turns
from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def r1_reward(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`message` holds the instruction and its images, `answer` is `<answer>1</answer>` or `<answer>2</answer>`."""
    message = row.parsed("message")
    instruction = "\n".join(text for role, text in turns(message, "message") if role == "user")
    verdict = re.fullmatch(r"\s*<answer>\s*([12])\s*</answer>\s*", row.text("answer"))
    if verdict is None:
        raise InputError(f"answer is {row.text('answer')!r:.60}", remedy="use <answer>1</answer> or <answer>2</answer>")
    question = row.text("question") if row.optional("question") else asked(instruction)
    images = [row.refer(value, "message") for value in pictures(message, "message")] or row.images("image", least=1)
    p = float(verdict[1] == "1")
    return [pair(row, "response_preference", question, candidates(instruction), p, images=images)]


R1_REWARD = Recipe(
    "r1_reward", "R1-Reward-RL: answer pairs to train a reasoning reward model on (arXiv 2505.02835)", r1_reward,
    hub="yifanzhang114/R1-Reward-RL", licence="", tables=(*PARQUET, "*.parquet"), splits=("train",),
)  # fmt: skip
