"""VL-RewardBench (arXiv 2411.17451): which of two answers to a question about an image is better."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.row import DatasetRow, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark, compared
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import first_number, gold_substring, overall_judgment
from reasoner_rm.schema import Sample

HALLUCINATION, REASONING = ("RLAIF", "RLHF"), ("mathverse", "mmmu")
POVID = "hallucination"


def official_group(name: str) -> str:
    """By what an id begins with, as the released `cal.py` has it, POVID included: 183 general, 749 hallucination, 318
    reasoning."""
    start = prefix(name)
    if start in (*HALLUCINATION, POVID):
        return "hallucination"
    return "reasoning" if start in REASONING else "general"


def unifiedreward_group(name: str) -> str:
    """As UnifiedReward's script: POVID's items are taken for general: 631, 301, 318."""
    return "general" if prefix(name) == POVID else official_group(name)


def r1_reward_group(name: str) -> str:
    """As R1-Reward's script, which looks for `rlhf` and `rlaif` in lower case and finds none: 484, 448, 318."""
    return "general" if prefix(name) in HALLUCINATION else official_group(name)


def prefix(name: str) -> str:
    """The part of an id before its first `_` or `-`."""
    return name.replace("-", "_").partition("_")[0]


def read(row: DatasetRow) -> Iterable[Sample]:
    """`human_ranking` holds each response's rank, 0 = better; nearly every row has the better one first."""
    first, second = (as_number(r, "human_ranking", 0, 1) for r in row.items("human_ranking", 2))
    if first == second:
        raise InputError(f"human_ranking is {[first, second]}", remedy="it ranks two responses 0 and 1")
    name = row.text("id")
    by = {
        "group": official_group(name),
        "unifiedreward": unifiedreward_group(name),
        "r1_reward": r1_reward_group(name),
    }
    answers = [as_text(r, "response") for r in row.items("response", 2)]
    question = row.text("query").replace("<image>\n", "")
    yield compared(
        row, name, "response_preference", question, answers, float(first < second), by=by, images=[row.image("image")]
    )


VL_REWARDBENCH = Benchmark(
    "vl_rewardbench",
    "VL-RewardBench",
    read,
    columns=("id", "query", "response", "image", "human_ranking"),
    hub="MMInstruction/VL-RewardBench",
    licence="mit",
    rows={"test": (1250, 1247)},
    protocols=(
        Protocol(
            "official",
            "K votes, each in its own random order; an item counts if more than half of all, unreadable ones too, "
            "agree or reject (cal.py)",
            order="random", votes=10, temperature=0.2, top_p=0.2, template="vl_rewardbench", parser=overall_judgment,
            combine="strict",
        ),
        Protocol(
            "both_orders", "each item in both orders, one greedy answer each; unreadable is wrong",
            template="vl_rewardbench", parser=overall_judgment,
        ),
        Protocol(
            "unifiedreward", "one shuffled order, greedy, the right verdict anywhere, POVID in general (UnifiedReward)",
            order="random", template="response_verdict", parser=gold_substring, over="unifiedreward",
        ),
        Protocol(
            "r1_reward", "the better answer always first, RLHF-V and RLAIF-V in general (R1-Reward)",
            order="best_first", template="response_number", parser=first_number, over="r1_reward",
        ),
        Protocol(
            "lmms_eval", "the order by the parity of both lengths, temperature 1, unreadable is a coin, macro alone",
            order="parity", temperature=1.0, template="vl_rewardbench", parser=overall_judgment, unparsed="coin",
            average="macro",
        ),
    ),
)  # fmt: skip
