"""A stage's measurement, for each task: groups, truth, boxes, the judge's own confidence, and the records of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import Student, make_pocket_run

from data_recipes.pocket import build
from reasoner_rm.config import Config
from reasoner_rm.data.io import load_samples
from reasoner_rm.evaluation import evaluate
from reasoner_rm.evaluation.benchmarks.samples import BOTH_ORDERS, SAMPLES, with_ground_truth
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.runner import EvaluatedModel, run
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.models.loading import load_vlm
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.sampling.votes import orders_of
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.run_dir import RunDir

TASKS = ("image_preference", "caption_critic", "detection", "qa")


class Reciter(RolloutEngine):
    """An engine that answers with given texts, in order."""

    def __init__(self, texts: Sequence[str]):
        self.texts = texts

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return [(Completion(text, (1,), (0.0,), "stop"),) for _, text in zip(requests, self.texts, strict=True)]


def measured(
    folder: Path, model: Path, task: str, monkeypatch: pytest.MonkeyPatch, scale: float = 1.0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The metrics and records of a policy that recites its samples' targets, boxes stretched by ``scale``."""
    config = Config.model_validate({
        "task": task, "template": "brief", "model": {"path": str(model), "min_pixels": 12544, "max_pixels": 12544},
        "data": {"heldout": build(folder / "data", "heldout", task, 6, 0)},
    })  # fmt: skip
    run = RunDir.create(folder / "run", config.yaml())
    shutil.copytree(model, run.checkpoint("grpo"))
    samples = load_samples(config.data.heldout)
    shown = [s if o == "given" else s.swapped() for s in samples for o in orders_of(task, both=True)]
    reciter = Reciter([stretched(s, scale) for s in shown])
    monkeypatch.setattr(TransformersEngine, "generate", lambda _, *asked: reciter.generate(*asked))
    Pipeline(config, run).evaluate_stage("grpo")
    rows = [json.loads(line) for line in (run.path / "evaluations" / "grpo-heldout.jsonl").open()]
    return run.summary()["stages"]["grpo"]["heldout"], rows


def stretched(sample: Sample, scale: float) -> str:
    boxes = [{**b, "bbox_2d": [v * scale for v in b["bbox_2d"]]} for b in sample.gold.get("boxes", ())]
    return f"<think>There.</think>\n<answer>{json.dumps(boxes)}</answer>" if boxes else str(sample.target)


@pytest.mark.parametrize("task", TASKS)
def test_a_stage_that_answers_right(
    task: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, rows = measured(tmp_path, tiny_folder, task, monkeypatch, scale=2.0)  # 56 pixels, seen as 112
    pairs = task == "image_preference"
    assert figures["accuracy"] == 1.0 and figures["n"] == 6 and len(rows) == 6 * (1 + pairs)
    assert (figures["consistency"] is None) == (figures["first_position"] is None) == (not pairs)
    by = {facet: sum(kind["n"] for kind in kinds.values()) for facet, kinds in figures["by"].items()}
    expected = {"image_preference": "corruption", "caption_critic": "corruption", "qa": "skill"}
    assert by == {name: 6 for name in ("difficulty", *filter(None, [expected.get(task)]))}
    for row, sample in zip(rows[:: 1 + pairs], load_samples(tmp_path / "data" / f"heldout-{task}.jsonl"), strict=True):
        assert (row["id"], row["gold"], row["meta"]["scenes"]) == (sample.id, sample.gold, sample.meta["scenes"])
        assert row["by"]["difficulty"] == str(sample.meta["difficulty"]) and row["correct"] == 1.0
        assert row["thinking"] and row["answer"] and "target" not in row
        assert (tmp_path / "run" / row["images"][0]).is_file()
        if task == "detection":
            assert [b["bbox_2d"] for b in row["boxes"]] == [pytest.approx(b["bbox_2d"]) for b in sample.gold["boxes"]]


@pytest.mark.parametrize(("family", "scale"), [("tiny_folder", 2.0), ("tiny_qwen3_folder", 1000 / 56)])
def test_boxes_are_read_in_the_space_of_the_family(
    family: str, scale: float, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue(family)
    assert measured(tmp_path / "a", model, "detection", monkeypatch, scale)[0]["accuracy"] == 1.0
    assert measured(tmp_path / "b", model, "detection", monkeypatch, 1.0)[0]["accuracy"] < 0.5


def test_the_judge_is_asked_how_sure_it_is(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listener, "__init__", with_any_mass(Listener.__init__))
    figures, rows = measured(tmp_path, tiny_folder, "image_preference", monkeypatch)
    vlm = load_vlm(tiny_folder, min_pixels=12544, max_pixels=12544)
    shown = [
        view
        for sample in load_samples(tmp_path / "data" / "heldout-image_preference.jsonl")
        for view in (sample, sample.swapped())
    ]
    own = frozen_listener(vlm, load_template("image_preference", "brief"))
    expected = own.beliefs(shown, [[str(s.target)] for s in shown])
    assert [row["confidence"] for row in rows] == [pytest.approx(b.probs, abs=1e-4) for (b,) in expected if b]
    assert figures["calibration"]["judge"]["n"] == 6 and "listener" not in figures["calibration"]


def with_any_mass(init: Any) -> Any:
    """An untrained model holds little probability on the options; here it counts all the same."""
    return lambda self, vlm, template, **more: init(self, vlm, template, **more | {"min_mass": 0.0})


def test_average_precision_over_a_split() -> None:
    """By hand. Cubes: one of two is found, at an IoU of 0.6, the other answer cannot be read: precision 1 up to recall
    0.5 (51 of 101 points) at the thresholds 0.5, 0.55 and 0.6. Stars: found exactly."""
    box = {"cube": [0, 0, 10, 10], "star": [20, 20, 30, 30]}
    samples = [
        Sample(str(i), "detection", name, images=("x",), gold={"boxes": [{"bbox_2d": box[name], "label": name}]})
        for i, name in enumerate(("cube", "cube", "star"))
    ]
    said = [
        '[{"bbox_2d": [0, 0, 6, 10], "label": "Cube."}]',
        "nothing",
        '[{"bbox_2d": [20, 20, 30, 30], "label": "star"}]',
    ]
    engine = Reciter([f"<think>t</think>\n<answer>{text}</answer>" for text in said])
    found = evaluate(engine, load_template("detection", "brief"), samples).metrics
    assert found.ap50 == pytest.approx((51 / 101 + 1) / 2, abs=1e-4)
    assert found.mean_ap == pytest.approx((0.3 * 51 / 101 + 1) / 2, abs=1e-4)
    assert found.accuracy == pytest.approx(2 / 3, abs=1e-4)
    empty = evaluate(Reciter([]), load_template("detection", "brief"), []).metrics
    assert (empty.mean_ap, empty.ap50, empty.accuracy) == (None, None, None)


# --- groups ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_each_kind_is_counted_for_itself(task: str, tmp_path: Path) -> None:
    """From the records alone: a sample's score is the mean over its votes, a kind's the mean over its samples."""
    made = make_pocket_run(tmp_path, task, n=30)["grpo-heldout"]
    by_sample: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (tmp_path / "evaluations" / "grpo-heldout.jsonl").open():
        row = json.loads(line)
        by_sample[row["id"]].append(row)
    for facet, kinds in made.metrics.by.items():
        scores: dict[str, list[float]] = defaultdict(list)
        for rows in by_sample.values():
            kind = {"difficulty": rows[0]["meta"]["difficulty"], "skill": rows[0]["meta"].get("skill")}
            kind["corruption"] = rows[0]["gold"].get("type", rows[0]["meta"].get("corruption"))
            scores[str(kind[facet])].append(float(np.mean([row["correct"] for row in rows])))
        assert {k: (a.accuracy, a.n) for k, a in kinds.items()} == {
            k: (pytest.approx(np.mean(s), abs=2e-4), len(s)) for k, s in scores.items()
        }
        for share in kinds.values():
            low, high = share.accuracy_interval or (0, 0)
            assert 0 <= low <= (share.accuracy or 0) <= high <= 1


def test_facets_are_only_what_a_sample_states() -> None:
    assert facets(Sample("a", "qa", "?", gold={"answer": "1", "kind": "number"})) == {}
    critic = Sample("a", "caption_critic", "a", gold={"type": "count"}, meta={"corruption": "other", "difficulty": 10})
    assert facets(critic) == {"corruption": "count", "difficulty": "10"}


# --- truth ----------------------------------------------------------------------------------------------------


def pair(p_first: float, truth: int | None) -> Sample:
    meta = {} if truth is None else {"truth": truth}
    return Sample("a", "image_preference", "c", images=("x", "y"), gold={"p_first": p_first}, meta=meta)


@pytest.mark.parametrize(
    ("p_first", "truth", "said", "correct"),
    [
        (0.4, 1, 1, 1.0),  # most voters were wrong
        (0.4, 1, 2, 0.0),
        (0.4, None, 2, 1.0),  # nothing is known but the votes
        (0.5, 1, 1, None),  # they were divided
        (1.0, 1, 1, 1.0),
    ],
)
def test_pairs_are_judged_by_the_truth_where_it_is_known(
    p_first: float, truth: int | None, said: int, correct: float | None
) -> None:
    sample = pair(p_first, truth)
    texts = [f"<think>t</think>\n<answer>Image {k} is better</answer>" for k in (said, 3 - said)]
    made = evaluate(Reciter(texts), load_template("image_preference", "brief"), [sample])
    assert [row["correct"] for row in made.records()] == [correct, correct]
    assert [row["gold"] for row in made.records()] == [sample.gold, sample.swapped().gold]


def test_a_noisy_world_is_measured_against_its_truth(tmp_path: Path) -> None:
    figures = make_pocket_run(tmp_path, "image_preference", n=60, noise=1.0)["grpo-heldout"].metrics
    rows = [json.loads(line) for line in (tmp_path / "evaluations" / "grpo-heldout.jsonl").open()]
    against_votes = 0
    for row in rows:
        truth, p_first = row["meta"]["truth"] - 1, row["gold"]["p_first"]
        assert row["meta"]["order"].index(0) == truth
        assert row["correct"] == (None if p_first == 0.5 else float(row["preferred"] == truth))
        against_votes += p_first != 0.5 and (p_first < 0.5) != truth
    assert against_votes > 5, "the voters were never wrong, so this shows nothing"
    assert figures.ties == sum(row["correct"] is None for row in rows) / 2 > 0


def test_the_truth_is_swapped_with_the_pair() -> None:
    sample = pair(0.4, 1)
    assert sample.swapped().meta["truth"] == 2 and sample.swapped().swapped().meta["truth"] == 1
    assert with_ground_truth(sample).gold == {"p_first": 1.0} and with_ground_truth(sample.swapped()).gold == {
        "p_first": 0.0
    }
    qa = Sample("a", "qa", "?", gold={"answer": "1", "kind": "number"}, meta={"truth": 1})
    assert with_ground_truth(qa) is qa


# --- one evaluator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_run_and_the_benchmark_of_its_split_have_the_same_metrics(task: str, tmp_path: Path) -> None:
    file = build(tmp_path / "data", "heldout", task, 24, 0, name="heldout")
    samples = load_samples(file)
    student = Student(samples, 0.6, 0)
    texts = {(s.id, str(s.meta.get("order"))): text for s, text in zip(student.shown, student.answers, strict=True)}
    of_run = evaluate(student, load_template(task, "brief"), samples)

    judge = CallablePredictor(lambda sample: texts[sample.id, str(sample.meta.get("order"))])
    items = SAMPLES.load(file)
    of_benchmark = run(SAMPLES, items, EvaluatedModel(judge, native_prompt=True), BOTH_ORDERS, tmp_path / "out")
    assert of_run.result.metrics == of_benchmark.metrics
    assert of_run.result.item_scores == of_benchmark.item_scores
    ours, theirs = (dataclasses.asdict(result.diagnostics) for result in (of_run.result, of_benchmark))
    assert {k: v for k, v in ours.items() if k not in ("truncated", "tokens")} == {
        k: v
        for k, v in theirs.items()
        if k not in ("truncated", "tokens")  # a callable states neither
    }
    assert (of_run.metrics.accuracy or 0) not in (0, 1) and (of_run.metrics.ap50 is None) == (task != "detection")
