"""EditReward-Bench (arXiv 2509.26346): rankings of two to four edits of an image."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from reasoner_rm.data.pairing import ranks_of
from reasoner_rm.data.row import DatasetRow, as_dict, as_text
from reasoner_rm.evaluation.benchmark import Benchmark, compared, tables
from reasoner_rm.evaluation.pairwise import best_epsilon, gold_verdict, mean_margin, parsed_votes
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import four_way
from reasoner_rm.schema import Sample


def read(row: DatasetRow) -> Iterable[Sample]:
    """`human_vote.ranking` such as `A>B>C` or `A=B=Good` over `paths_generated`: every pair is an item."""
    edits = row.images("paths_generated", least=2)
    ranking = as_text(as_dict(row.parsed("human_vote"), "human_vote").get("ranking"), "human_vote.ranking")
    ranks = ranks_of(ranking.replace("A<B", "B>A"), len(edits))
    source, prompt = row.image("path_src"), row.text("prompt")
    tie = "good" if ranking.endswith("Good") else "bad" if ranking.endswith("Bad") else ""
    for i in range(len(edits)):
        for j in range(i + 1, len(edits)):
            better = 0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j])
            yield compared(
                row, f"{row.name}-{i}-{j}", "edit_preference", prompt, [edits[i], edits[j]], better, shared=[source],
                by={"group": f"{len(edits)}-pair"}, group=row.name, gold={"tie": tie} if better == 0.5 and tie else {},
            )  # fmt: skip


def strict(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """A ranking is right if every pair of it is: a winner by the sign of its margin, a tie by the ε that makes most
    pairs of two right. Unreadable is wrong."""
    margins = {i.sample.id: _margin(i, protocol) for i in items}
    signs = {i.sample.id: {0: 1, 1: -1}.get(gold_verdict(i.sample), 0) for i in items}
    two = [i for i in items if i.sample.meta["by"]["group"] == "2-pair"]
    epsilon = _epsilon([margins[i.sample.id] for i in two], [signs[i.sample.id] for i in two])
    groups: dict[str, list[Sample]] = defaultdict(list)
    for item in items:
        groups[item.sample.group_id].append(item.sample)
    scores = []
    for members in groups.values():
        right = [_right(margins[s.id], signs[s.id], epsilon) for s in members]
        scores.append(float(all(right)))
    return ItemScores.of_scores([members[0] for members in groups.values()], scores)


def _right(m: float | None, sign: int, epsilon: float) -> bool:
    if m is None:
        return False
    return abs(m) <= epsilon if sign == 0 else m * sign > 0


def _margin(item: AnsweredItem, protocol: Protocol) -> float | None:
    readable = [r for r in parsed_votes(item, protocol) if r.verdict is not None]
    return mean_margin(readable) if readable else None


def _epsilon(margins: Sequence[float | None], signs: Sequence[int]) -> float:
    import numpy as np

    return best_epsilon(np.array([np.nan if m is None else m for m in margins]), np.array(signs))


_voted = functools.partial(Protocol, template="four_way_edit", parser=four_way, combine="majority")

EDITREWARD_BENCH = Benchmark(
    "editreward_bench",
    "EditReward-Bench",
    read,
    columns=("prompt", "path_src", "paths_generated", "human_vote"),
    hub="TIGER-Lab/EditReward-Bench",
    tables=("EditReward_Bench_*pair.json", *tables("*pair.json"), *tables("*.json")),
    protocols=(
        _voted("strict", "a ranking of two to four edits counts if all its pairs are right", metric=strict),
        _voted("pairs", "all pairs; what is a tie is calibrated on these very data", tie="calibrated"),
        _voted("no_tie", "pairs with a winner; a tied verdict is wrong"),
    ),
)  # fmt: skip
