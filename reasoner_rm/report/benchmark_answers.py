"""A benchmark's votes as the answers that the item browser shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reasoner_rm.evaluation.pairwise import credit, gold_verdict, parse_vote
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.evaluation.verdict_parsers import PairVerdict, task_answer
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.schema import PAIRWISE_TASKS
from reasoner_rm.tasks.parsing import last_element

TIES = {PairVerdict.TIE: "a tie", PairVerdict.GOOD: "a tie, both good", PairVerdict.BAD: "a tie, both bad"}


def evaluated(items: Sequence[AnsweredItem], scores: Mapping[str, Any]) -> Evaluated:
    """The votes of a result, parsed as its protocol parses them."""
    benchmark = get_benchmark(scores["benchmark"]["name"])
    published = benchmark.protocol(scores["protocol"]["name"].partition(" (")[0])
    options = {k: scores["protocol"][k] for k in ("order", "votes", "tie", "threshold", "seed")}
    protocol = published.with_options(**options)
    if scores.get("native_prompt"):
        protocol = dataclasses.replace(protocol, parser=task_answer)
    answers = [_answer(item, vote, protocol, scores) for item in items for vote in protocol.counted(item)]
    name = str(scores.get("judge", {}).get("model") or "the judge")
    return Evaluated(name, str(scores.get("split") or "test"), tuple(answers))


def _answer(item: AnsweredItem, vote: Prediction, protocol: Protocol, scores: Mapping[str, Any]) -> Answer:
    answer, correct, preferred = _verdict(item, vote, protocol, scores)
    text = vote.text if vote.text is not None else "" if vote.scores is None else f"scores {list(vote.scores)}"
    if vote.grades:
        text += "".join(f"\n\n[grader, {grade.order}] {grade.text}" for grade in vote.grades)
    return Answer(
        sample=item.in_order(vote.order),
        by=facets(item.sample),
        order=vote.order,
        text=text,
        thinking=last_element(text, "think") if scores.get("native_prompt") else text,
        answer=answer,
        parse_error="" if answer is not None else "truncated" if vote.finish == "length" else "no readable verdict",
        correct=correct,
        preferred=preferred,
        listener=(),
        confidence=(),
        boxes=(),
    )


def _verdict(
    item: AnsweredItem, vote: Prediction, protocol: Protocol, scores: Mapping[str, Any]
) -> tuple[str | None, float | None, int | None]:
    """A vote's answer as text, how right it is, and the index of the candidate that it picks, as shown."""
    if item.sample.task not in PAIRWISE_TASKS:
        value = protocol.parser(vote.text or "", item.sample)
        return None if value is None else str(value), scores["item_scores"].get(item.sample.id), None
    parsed = parse_vote(item, vote, protocol)
    side = parsed.as_shown
    if parsed.verdict is None or side is None:
        return None, 0.0, None
    text = TIES.get(side, f"{PAIRWISE_TASKS[item.sample.task].noun} {side + 1} is better")
    correct = credit(parsed.verdict, gold_verdict(item.sample), protocol.tie)
    return text, correct, None if side.is_tie else int(side)
