"""One benchmark from its items to its scores: predict, grade, score; and score again without a model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.baselines import BlindPredictor
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.predictors import BATCH, Predictor, batches, journal_row, predict_to_journal, votes_of
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.result_dir import BLIND, GRADES, PREDICTIONS, ResultDir
from reasoner_rm.evaluation.scoring import BenchmarkResult, score
from reasoner_rm.evaluation.verdict_parsers import task_answer
from reasoner_rm.sampling.votes import Query
from reasoner_rm.schema import Sample
from reasoner_rm.utils.journal import Journal
from reasoner_rm.utils.locks import folder_lock


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """The judge that is evaluated.

    metadata: identifies it in the results: model, engine, prompt.
    native_prompt: whether it is asked with the prompt it was trained on, so that its task's parser reads it.
    """

    predictor: Predictor
    metadata: Mapping[str, Any] = field(default_factory=dict)
    native_prompt: bool = False


def run(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    model: EvaluatedModel,
    protocol: Protocol,
    out: str | Path,
    *,
    split: str = "",
    blind: bool = False,
    grader: Predictor | None = None,
    batch: int = BATCH,
) -> BenchmarkResult:
    """Evaluate, or resume an evaluation that was stopped; the results are written to ``out``.

    Args:
        blind: ask once more with grey images, one vote each, for the baseline.
        grader: the model that grades answers that no rule can; needed by the benchmarks that say so.

    Raises:
        InputError: another evaluation is in the folder, another process writes there, or a grader is missing.
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
        "native_prompt": model.native_prompt,
        "judge": dict(model.metadata),
        "items": {"n": len(samples), "hash": _fingerprint(samples)},
    }
    with folder_lock(folder.path):
        _journalled(
            folder, PREDICTIONS, plan, lambda j: predict_to_journal(model.predictor, samples, protocol, j, batch)
        )  # fmt: skip
        folder.write_items(samples)
        if blind:
            once, blinded = protocol.with_options(votes=1), BlindPredictor(model.predictor)
            _journalled(
                folder, BLIND, plan | {"blind": True}, lambda j: predict_to_journal(blinded, samples, once, j, batch)
            )  # fmt: skip
        if benchmark.grading and grader is not None:
            graded_by = grader
            answered, _ = folder.answered_items()
            _journalled(
                folder, GRADES, plan | {"grades": True}, lambda j: _grade(benchmark, answered, graded_by, j, batch)
            )
        return rescore(folder.path, protocol=protocol)


def rescore(
    out: str | Path, name: str | None = None, *, protocol: Protocol | None = None, **options: Any
) -> BenchmarkResult:
    """Score the stored votes of a folder under any protocol, and write the scores to the protocol's own file.

    Args:
        name: a protocol of the benchmark; None: the one that the votes were asked for with.
        options: other values for it.

    Raises:
        InputError: nothing to score, or votes that the protocol needs are not stored.
    """
    folder = ResultDir(out)
    result, scores = score_votes(folder, name, protocol=protocol, **options)
    folder.write_scores(scores)
    return result


def score_votes(
    folder: ResultDir, name: str | None = None, *, protocol: Protocol | None = None, **options: Any
) -> tuple[BenchmarkResult, dict[str, Any]]:
    """The scores of the stored votes under a protocol, as a result and as the object of a scores file.

    Args, Raises: as `rescore`.
    """
    plan = folder.plan()
    try:
        benchmark = get_benchmark(str(plan.get("benchmark")))
        asked = _asked(benchmark, plan) if protocol is None and name is None else None
    except (InputError, TypeError) as error:
        remedy = "evaluate again, or repair the line"
        file = folder.path / PREDICTIONS
        raise InputError(f"the plan cannot be read ({error})", file=file, line=1, remedy=remedy) from None
    rules = (protocol or asked or benchmark.protocol(str(name))).with_options(**options)
    if plan.get("native_prompt"):
        rules = dataclasses.replace(rules, parser=task_answer)
    items, anomalies = folder.answered_items()
    blind = folder.answered_items(BLIND)[0] if folder.has(BLIND) else []
    result = score(benchmark, items, rules, blind=blind)
    metadata = {"name": benchmark.name, "title": benchmark.title, "hub": benchmark.hub, "licence": benchmark.licence}
    scores = {"benchmark": metadata, "split": plan.get("split"), "judge": plan.get("judge", {})}
    scores |= {"native_prompt": bool(plan.get("native_prompt")), **result.as_json(), "anomalies": anomalies}
    return result, scores | {"item_scores": dict(result.item_scores)}


def _asked(benchmark: Benchmark, plan: Mapping[str, Any]) -> Protocol:
    """The protocol of the run, with the orders and votes that it really asked for."""
    return benchmark.protocol(str(plan.get("protocol"))).with_options(**plan.get("asked", {}))


def _journalled(folder: ResultDir, name: str, plan: Mapping[str, Any], work: Callable[[Journal], None]) -> None:
    journal = Journal(folder.path / name, plan, votes_of)
    try:
        work(journal)
    finally:
        journal.close()


def _fingerprint(samples: Sequence[Sample]) -> str:
    return hashlib.sha256("\n".join(s.id for s in samples).encode()).hexdigest()[:16]


def _grade(
    benchmark: Benchmark, answered: Sequence[AnsweredItem], grader: Predictor, journal: Journal, batch: int
) -> None:
    """Have every answer graded that is not yet."""
    assert benchmark.grading is not None
    ungraded: dict[str, tuple[Sample, bool]] = {}
    for item in answered:
        grading = benchmark.grading(item.sample)
        for vote in item.predictions:
            name = f"{item.sample.id}#{vote.number}"
            if grading and vote.text is not None and name not in journal.done:
                ungraded[name] = (dataclasses.replace(grading.ask(item.sample, vote.text), id=name), grading.both)
    for part in batches((sample for sample, _ in ungraded.values()), batch):
        queries = [Query(s, "given", (0,)) for s in part]
        queries += [Query(s.swapped(), "swapped", (0,)) for s in part if ungraded[s.id][1]]
        grades: dict[str, list[Prediction]] = {s.id: [] for s in part}
        for query, votes in zip(queries, grader(queries), strict=True):
            grades[query.sample.id] += votes
        for sample in part:
            journal.add(journal_row(sample.id, grades[sample.id]))
