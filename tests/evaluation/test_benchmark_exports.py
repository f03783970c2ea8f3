"""Results as the hub and lmms-eval read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_files import vl_rewardbench, vl_rewardbench_row
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image

from reasoner_rm.evaluation.export import model_index, write_lmms_task
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.registry import get_benchmark, load_benchmark
from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.evaluation.runner import EvaluatedModel, run

VLRB = get_benchmark("vl_rewardbench")


def test_the_hub_reads_a_result(tmp_path: Path) -> None:
    samples = load_benchmark("vl_rewardbench", vl_rewardbench(tmp_path / "data"), any_revision=True)
    run(VLRB, samples, EvaluatedModel(CallablePredictor(lambda s: 0)), VLRB.protocol("both_orders"), tmp_path / "out")
    entry = model_index(ResultDir(tmp_path / "out").scores())
    text = "---\n" + yaml.safe_dump({"model-index": [{"name": "judge", "results": [entry]}]}) + "---\n"
    card: Any = ModelCard(text)
    assert isinstance(card.data, ModelCardData) and card.data.eval_results
    first = card.data.eval_results[0]
    assert (first.dataset_type, first.metric_value) == ("MMInstruction/VL-RewardBench", 0.5)
    assert "protocol both_orders" in str(first.metric_name)


class Functions(yaml.SafeLoader):
    """Reads `!function`, as lmms-eval does."""


Functions.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.mark.parametrize("name", ["unifiedreward", "lmms_eval"])
def test_lmms_eval_runs_the_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_lmms_task(VLRB, VLRB.protocol(name), tmp_path / "tasks")
    task = yaml.load(file.read_text(), Functions)
    assert task["dataset_path"] == "MMInstruction/VL-RewardBench" and task["output_type"] == "generate_until"
    spec = importlib.util.spec_from_file_location("utils", file.parent / "utils.py")
    assert spec and spec.loader
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    call = {
        key: getattr(utils, str(task[key]).rpartition(".")[2])
        for key in ("doc_to_visual", "doc_to_text", "process_results")
    }
    docs = [{**vl_rewardbench_row(f"mathverse_{i}", i), "image": Image.new("RGB", (8, 8), "red")} for i in range(4)]
    results = []
    for doc in docs:
        text = call["doc_to_text"](doc)
        assert (
            text.count("<image>") == 1
            and "What is shown" in text
            and [i.size for i in call["doc_to_visual"](doc)] == [(8, 8)]
        )
        better = 1 + (
            text.index("A square") > text.index("red square")
        )  # the first answer of the file is the better one
        said = f"Overall Judgment: Answer {better} is better. <answer>Answer {better} is better</answer>"
        results.append(call["process_results"](doc, [said])["score"])
    assert utils.aggregate(results) == 1.0
