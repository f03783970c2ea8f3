"""The worked examples of CONTRIBUTING.md: what it shows is what stands in examples/extending, and that works."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from data_recipes import get_recipe
from reasoner_rm.config import RejectionSamplingSection
from reasoner_rm.data.build import build
from reasoner_rm.data.io import load_samples
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.runner import EvaluatedModel, run
from reasoner_rm.models.families import FAMILIES, get_family
from reasoner_rm.rewards import explain, score
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.sampling.rejection_sampling import split_by_pass_rate
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import TASKS, get_task
from reasoner_rm.tasks.render import load_template, render

ROOT = Path(__file__).parents[2]
EXTENDING = ROOT / "examples" / "extending"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"extending_{name}", EXTENDING / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(folder: Path, name: str) -> str:
    Image.new("RGB", (56, 56), (len(name) * 20, 90, 200)).save(folder / name)
    return name


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file


@pytest.mark.parametrize("file", sorted(p.name for p in EXTENDING.iterdir() if p.suffix in (".py", ".txt")))
def test_the_guide_shows_each_file_as_it_is(file: str) -> None:
    assert (EXTENDING / file).read_text(encoding="utf-8").strip() in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load("task").OddOneOut()
    monkeypatch.setitem(TASKS, task.name, task)
    sample = Sample("1", "odd_one_out", "Which does not belong?", ("a.png", "b.png", "c.png"), gold={"odd": 3})
    get_task("odd_one_out").validate(sample)
    prompt = render(sample, load_template("odd_one_out", str(EXTENDING / "odd_one_out.default.txt")))
    assert prompt.images == sample.images
    right, wrong, none = (f"<think>.</think><answer>{said}</answer>" for said in ("3", "1", "4"))
    assert [score("accuracy", text, sample)["total"] for text in (right, wrong, none)] == [1, 0, 0]
    assert task.options(sample) == ("1", "2", "3") and task.gold_probs(sample) == (0, 0, 1)
    assert task.option_index("3", sample) == 2 and task.reference_answer(sample) == "3"


def test_a_reward() -> None:
    sample = Sample("1", "qa", "?", gold={"answer": "7", "kind": "number"})
    name = f"{EXTENDING / 'reward.py'}:brevity"
    found = explain(name, "<think>one two three</think><answer>7</answer>", sample, params={"most": 6})
    assert found.total == 0.5 and found.metrics == {"brevity/words": 3}
    assert score(name, "no answer", sample)["total"] == 0


def test_a_recipe(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"cube {i}", "left": picture(tmp_path, f"l{i}.png"), "right": picture(tmp_path, f"r{i}.png"),
         "left_votes": i, "votes": 4 if i < 5 else 0}
        for i in range(6)
    ]  # fmt: skip
    rows[5]["left_votes"] = 0
    built = build(
        get_recipe(f"{EXTENDING / 'recipe.py'}:PAIRS"), write(tmp_path / "pairs.csv", rows), tmp_path / "out" / "set"
    )
    samples = load_samples(tmp_path / "out" / "set" / "train.jsonl")
    shares = {s.prompt: s.gold["p_first"] if s.meta["order"] == [0, 1] else 1 - s.gold["p_first"] for s in samples}
    assert shares == {f"cube {i}": i / 4 for i in range(5)} and built is not None


def test_a_benchmark(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": "cube", "left": picture(tmp_path, f"l{i}.png"),
         "right": picture(tmp_path, f"r{i}.png"), "better": ("left", "right")[i == 3], "kind": ("a", "b")[i == 3]}
        for i in range(4)
    ]  # fmt: skip
    benchmark = get_benchmark(f"{EXTENDING / 'benchmark.py'}:RATED_PAIRS")
    samples = benchmark.load(write(tmp_path / "pairs.csv", rows), None)
    first = EvaluatedModel(CallablePredictor(lambda sample: "<think>.</think><answer>Image 1 is better</answer>"), {})
    found = run(benchmark, samples, first, benchmark.protocol("as_given"), tmp_path / "given")
    assert found.metrics.headline[1].value == 0.75
    found = run(benchmark, samples, first, benchmark.protocol("both_orders"), tmp_path / "both")
    assert found.metrics.headline[1].value == 0.5  # always the first: right in one order of two


def test_an_engine() -> None:
    template, sample = load_template("qa", "brief"), Sample("1", "qa", "2+2?", gold={"answer": "4", "kind": "number"})
    text = "".join(str(part) for part in render(sample, template).content)
    right, wrong = "<think>.</think><answer>4</answer>", "<think>.</think><answer>5</answer>"
    engine = load("engine").RecordedEngine({text: [right, right, right, wrong]})
    found = split_by_pass_rate(engine, template, [sample], RejectionSamplingSection(num_samples=4), seed=0)
    assert [s.target for s in found.sft] == [right]
    request = GenerationRequest(render(sample, template), (1, 2))
    ((_, completions),) = engine.stream([request], SamplingParams())
    assert [c.text for c in completions] == [right, right] and not engine.capabilities.concurrent


def test_a_model_family(monkeypatch: pytest.MonkeyPatch) -> None:
    family = load("family").FAMILY
    monkeypatch.setitem(FAMILIES, family.model_type, family)
    assert get_family(SimpleNamespace(model_type="my_vl"), "a checkpoint").box_space == "normalized_1000"
