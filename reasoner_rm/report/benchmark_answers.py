"""A benchmark's votes as the answers that the browser of items draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner_rm.evaluation.pairwise import credit, gold_of, read
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.evaluation.verdict_parsers import PairVerdict, by_task
from reasoner_rm.evaluation.votes import AnsweredItem, Vote, shown
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.schema import PAIRWISE_TASKS
from reasoner_rm.tasks.parsing import last_element


def evaluated(items: Sequence[AnsweredItem], scores: Mapping[str, Any]) -> Evaluated:
    """The votes of a result, read as its protocol reads them."""
    benchmark = get_benchmark(scores["benchmark"]["name"])
    known = benchmark.protocol(scores["protocol"]["name"].partition(" (")[0])
    knobs = {k: scores["protocol"][k] for k in ("order", "votes", "tie", "threshold", "seed")}
    protocol = known.changed(**knobs)
    own = bool(scores.get("own_words"))
    answers = [_answer(item, vote, protocol, own, scores) for item in items for vote in protocol.counted(item)]
    name = str(scores.get("judge", {}).get("model") or "the judge")
    return Evaluated(name, str(scores.get("split") or "test"), tuple(answers))


def _answer(item: AnsweredItem, vote: Vote, protocol: Protocol, own: bool, scores: Mapping[str, Any]) -> Answer:
    sample = shown(item.sample, vote.order)
    said, correct, preferred = _verdict(item, vote, protocol, own, scores)
    text = vote.text if vote.text is not None else "" if vote.scores is None else f"scores {list(vote.scores)}"
    if vote.grades:
        text += "".join(f"\n\n[grader, {grade.order}] {grade.text}" for grade in vote.grades)
    thinking = last_element(text, "think") if own else text
    return Answer(
        sample=sample,
        by=facets(item.sample),
        order=vote.order,
        text=text,
        thinking=thinking,
        answer=said,
        parse_error="" if said is not None else "cut off" if vote.finish == "length" else "no readable verdict",
        correct=correct,
        preferred=preferred,
        listener=(),
        confidence=(),
        boxes=(),
    )


def _verdict(
    item: AnsweredItem, vote: Vote, protocol: Protocol, own: bool, scores: Mapping[str, Any]
) -> tuple[str | None, float | None, int | None]:
    """What a vote says, how right that is, and which candidate it names, as shown."""
    import dataclasses

    rules = dataclasses.replace(protocol, reader=by_task) if own else protocol
    if item.sample.task not in PAIRWISE_TASKS:
        value = rules.reader(vote.text or "", item.sample)
        return None if value is None else str(value), scores["each"].get(item.sample.id), None
    reading = read(item, vote, rules)
    side = reading.as_shown
    if reading.said is None or side is None:
        return None, 0.0, None
    noun = PAIRWISE_TASKS[item.sample.task].noun
    text = {PairVerdict.TIE: "a tie", PairVerdict.GOOD: "a tie, both good", PairVerdict.BAD: "a tie, both bad"}.get(
        side, f"{noun} {side + 1} is better"
    )
    worth = credit(reading.said, gold_of(item.sample), rules.tie)
    return text, worth, None if side.is_tie else int(side)
