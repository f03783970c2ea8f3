"""What evaluations leave in a run: a smaller one, or one of other data, never takes a larger one's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_run import Student

from data_recipes.pocket import build
from reasoner_rm.config import Config
from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.evaluation import Evaluation, evaluate
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.pipeline.evaluation_store import forget_evaluations, store_blind, store_evaluation
from reasoner_rm.report.run_reader import read_run
from reasoner_rm.training.run_dir import RunDir

SIZE = 6


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    heldout = build(tmp_path / "data", "heldout", "image_preference", SIZE, 0)
    config = Config.model_validate(
        {"task": "image_preference", "template": "brief", "data": {"heldout": heldout},
         "run": {"out": tmp_path / "run"}}
    )  # fmt: skip
    return RunContext(config, RunDir.create(tmp_path / "run", config.yaml()))


def evaluated(run: RunContext, limit: int, skill: float) -> Evaluation:
    samples = load_samples(run.config.data.heldout or "")[:limit]  # not kept by the context: its data may be changed
    return evaluate(Student(samples, skill, 0), run.template, samples)


def left(run: RunContext) -> tuple[dict[str, Any], str]:
    """The summary, and the records that the report reads."""
    return run.run.summary(), (run.run.path / "evaluations" / "grpo-heldout.jsonl").read_text()


def test_a_limited_evaluation_is_beside_the_whole_one(run: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    whole = evaluated(run, SIZE, 1.0)
    store_evaluation(run, "grpo", "heldout", whole, SIZE)
    store_blind(run, "grpo", "heldout", whole, SIZE)
    before, records = left(run)
    assert before["stages"]["grpo"]["heldout"]["n"] == before["stages"]["grpo"]["heldout"]["of"] == SIZE
    limited = evaluated(run, 2, 0.0)
    store_evaluation(run, "grpo", "heldout", limited, SIZE)
    store_blind(run, "grpo", "heldout", limited, SIZE)
    after, same_records = left(run)
    assert same_records == records and {k: after[k] for k in before if "rss" not in k} == {
        k: before[k] for k in before if "rss" not in k
    }
    assert {k: (m["n"], m["of"]) for k, m in after["partial"]["grpo"].items()} == {"heldout": (2, 6), "blind": (2, 6)}
    rows = (run.run.path / "evaluations" / "partial" / "grpo-heldout.jsonl").read_text().splitlines()
    assert len(rows) == 4 and {json.loads(row)["order"] for row in rows} == {"given", "swapped"}
    assert "2 of 6 samples, accuracy 0.0%: stored as" in capsys.readouterr().err
    (shown,) = read_run(run.run.path, groups=1).evaluations
    assert len({answer.sample.id for answer in shown.answers}) == SIZE


def test_a_whole_or_larger_one_replaces(run: RunContext) -> None:
    for limit, skill in ((2, 0.0), (4, 1.0), (SIZE, 0.0), (SIZE, 1.0)):
        result = evaluated(run, limit, skill)
        store_evaluation(run, "grpo", "heldout", result, SIZE)
        summary, records = left(run)
        assert summary["stages"]["grpo"]["heldout"] == json.loads(json.dumps(result.metrics.as_json() | {"of": SIZE}))
        assert summary["data"]["heldout"] == limit and records.count("\n") == 2 * limit
        assert "partial" not in summary
    file = run.config.data.heldout or Path()
    write_samples(file, load_samples(file)[:3])  # the run's own data has become smaller
    store_evaluation(run, "grpo", "heldout", evaluated(run, 3, 1.0), 3)
    assert left(run)[0]["stages"]["grpo"]["heldout"]["n"] == 3


def test_other_data_is_not_the_runs_split(run: RunContext, tmp_path: Path) -> None:
    store_evaluation(run, "grpo", "heldout", evaluated(run, SIZE, 1.0), SIZE)
    before, records = left(run)
    other = build(tmp_path / "other", "heldout", "image_preference", 9, 5)
    run.config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"heldout": other})})
    store_evaluation(run, "grpo", "heldout", evaluated(run, 9, 0.0), 9)
    after, same_records = left(run)
    assert after["stages"] == before["stages"] and same_records == records
    assert after["partial"]["grpo"]["heldout"]["n"] == 9


def test_a_stage_that_was_trained_again_has_no_evaluation_yet(run: RunContext) -> None:
    for stage in ("cold_start", "grpo"):
        store_evaluation(run, stage, "heldout", evaluated(run, SIZE, 1.0), SIZE)
    store_blind(run, "grpo", "heldout", evaluated(run, SIZE, 1.0), SIZE)
    forget_evaluations(run, "grpo")
    summary = run.run.summary()
    assert list(summary["stages"]) == ["cold_start"] and not summary["blind"]
    store_evaluation(run, "grpo", "heldout", evaluated(run, 2, 1.0), SIZE)
    assert run.run.summary()["stages"]["grpo"]["heldout"]["n"] == 2
