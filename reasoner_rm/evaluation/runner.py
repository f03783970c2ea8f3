"""One benchmark from its items to its scores: ask, grade, count; and count again without a model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.evaluate import blank_images
from reasoner_rm.evaluation.prediction import BATCH, Ask, Predictor, ask_all, batches, entry
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.result_dir import BLIND, GRADES, PREDICTIONS, ResultDir
from reasoner_rm.evaluation.scoring import BenchmarkResult, score
from reasoner_rm.evaluation.verdict_parsers import by_task
from reasoner_rm.evaluation.votes import AnsweredItem, Vote
from reasoner_rm.schema import Sample
from reasoner_rm.utils.journal import Journal


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """Who is evaluated.

    about: what names it, as it stands in the results: model, engine, prompt.
    own_words: whether it is asked with the prompt it was trained on, so that its task's parser reads it.
    """

    judge: Predictor
    about: Mapping[str, Any] = field(default_factory=dict)
    native_prompt: bool = False


def run(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    subject: EvaluatedModel,
    protocol: Protocol,
    out: str | Path,
    *,
    split: str = "",
    blind: bool = False,
    grader: Predictor | None = None,
    batch: int = BATCH,
) -> BenchmarkResult:
    """Evaluate, or go on with an evaluation that was stopped; the results lie in ``out``.

    Args:
        blind: ask once more with grey images, one vote each, for the baseline.
        grader: who grades answers that no rule can; needed by the benchmarks that say so.

    Raises:
        InputError: another evaluation is in the folder, or a grader is missing.
    """
    folder = ResultDir(out)
    if benchmark.grading and grader is None and any(benchmark.grading(s) for s in samples):
        remedy = "name one with --grader-url and --grader-model, or --grader"
        raise InputError(f"{benchmark.name}'s answers are graded by another model", remedy=remedy)
    plan = {
        "benchmark": benchmark.name,
        "split": split or benchmark.splits[0],
        "protocol": protocol.published,
        "asked": {k: getattr(protocol, k) for k in ("order", "votes", "temperature", "top_p", "seed")},
        "own_words": subject.native_prompt,
        "judge": dict(subject.about),
        "items": {"n": len(samples), "hash": _fingerprint(samples)},
    }
    _journalled(folder, PREDICTIONS, plan, lambda j: ask_all(subject.judge, samples, protocol, j, batch))
    folder.write_items(samples)
    if blind:
        once = protocol.changed(votes=1)
        judge = _Blind(subject.judge)
        _journalled(folder, BLIND, plan | {"blind": True}, lambda j: ask_all(judge, samples, once, j, batch))
    if benchmark.grading and grader is not None:
        graded = grader
        answered, _ = folder.answered()
        _journalled(folder, GRADES, plan | {"grades": True}, lambda j: _grade(benchmark, answered, graded, j, batch))
    return rescore(folder.path, protocol=protocol)


def rescore(
    out: str | Path, name: str | None = None, *, protocol: Protocol | None = None, **knobs: Any
) -> BenchmarkResult:
    """Count the votes of a folder under any protocol; writes `scores.json`.

    Args:
        name: a protocol of the benchmark; None: the one that was asked for.
        knobs: other values for it.

    Raises:
        InputError: nothing to count, or votes that the protocol needs were never cast.
    """
    folder = ResultDir(out)
    plan = folder.plan()
    benchmark = get_benchmark(str(plan.get("benchmark")))
    rules = protocol or _protocol(benchmark, plan, name)
    rules = rules.changed(**knobs)
    if plan.get("own_words"):
        rules = dataclasses.replace(rules, reader=by_task)
    items, odd = folder.answered()
    blind = folder.answered(BLIND)[0] if folder.has(BLIND) else []
    found = score(benchmark, items, rules, blind=blind)
    about = {"name": benchmark.name, "title": benchmark.title, "hub": benchmark.hub, "licence": benchmark.licence}
    result = {"benchmark": about, "split": plan.get("split"), "judge": plan.get("judge", {})}
    result |= {"own_words": bool(plan.get("own_words")), **found.as_json(), "odd": odd}
    folder.write_scores(result | {"each": dict(found.each)})
    return found


def _protocol(benchmark: Benchmark, plan: Mapping[str, Any], name: str | None) -> Protocol:
    """By name; without one, what was asked for, with the orders and votes that were really cast."""
    if name is not None:
        return benchmark.protocol(name)
    return benchmark.protocol(str(plan.get("protocol"))).changed(**plan.get("asked", {}))


def _journalled(folder: ResultDir, name: str, plan: Mapping[str, Any], work: Callable[[Journal], None]) -> None:
    journal = Journal(folder.path / name, plan)
    try:
        work(journal)
    finally:
        journal.close()


def _fingerprint(samples: Sequence[Sample]) -> str:
    return hashlib.sha256("\n".join(s.id for s in samples).encode()).hexdigest()[:16]


class _Blind:
    """A judge that is shown grey images in place of its own."""

    def __init__(self, judge: Predictor):
        self.judge = judge

    def __call__(self, asks: Sequence[Ask]) -> list[list[Vote]]:
        grey = blank_images([ask.sample for ask in asks])
        return self.judge([dataclasses.replace(ask, sample=s) for ask, s in zip(asks, grey, strict=True)])


def _grade(
    benchmark: Benchmark, answered: Sequence[AnsweredItem], grader: Predictor, journal: Journal, batch: int
) -> None:
    """Have every answer graded that is not yet."""
    assert benchmark.grading is not None
    asked: dict[str, tuple[Sample, bool]] = {}
    for item in answered:
        grading = benchmark.grading(item.sample)
        for vote in item.votes:
            name = f"{item.sample.id}#{vote.number}"
            if grading and vote.text is not None and name not in journal.done:
                sample = dataclasses.replace(grading.ask(item.sample, vote.text), id=name)
                asked[name] = (sample, grading.both)
    for part in batches((sample for sample, _ in asked.values()), batch):
        asks = [Ask(s, "given", (0,)) for s in part]
        asks += [Ask(s.swapped(), "swapped", (0,)) for s in part if asked[s.id][1]]
        said: dict[str, list[Vote]] = {s.id: [] for s in part}
        for ask, votes in zip(asks, grader(asks), strict=True):
            said[ask.sample.id] += votes
        for sample in part:
            journal.add(entry(sample.id, said[sample.id]))
