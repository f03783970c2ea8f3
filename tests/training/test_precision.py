"""Training in one process: its precision and its device."""

from __future__ import annotations

import copy
import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from reasoner_rm import rewards
from reasoner_rm.config import Config, GrpoSection, LoraSection, RunSection, SftSection
from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.pipeline.context import trained_dtype
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Group, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.optimization import Optimization
from reasoner_rm.training.policy_module import PolicyModule

TEMPLATE = load_template("image_preference", "brief")


def in_dtype(vlm: Vlm, dtype: torch.dtype) -> Vlm:
    return dataclasses.replace(vlm, model=copy.deepcopy(vlm.model).to(dtype))


def luck(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """A reward that an untrained model's completions already differ in."""
    return [float(zlib.crc32(completion.text.encode()) % 7) for completion in group.completions]


@pytest.mark.parametrize("form", [{}, {"shared_prefix": False}, {"gradient_checkpointing": True}])
def test_fp32_weights_are_trained_under_autocast(
    form: dict[str, bool], tiny: Vlm, perturbed: Callable[[Vlm], Vlm], pictures: tuple[Image.Image, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At a learning rate of 1e-6 most weights move in two steps, although bf16 could represent few of the updates."""
    monkeypatch.setitem(rewards.REWARDS, "luck", Reward("luck", (0.0, 6.0), luck))
    vlm = in_dtype(perturbed(tiny), torch.float32)
    start = {name: weight.clone() for name, weight in vlm.model.named_parameters()}
    section = GrpoSection(
        rewards="luck", prompts_per_device=1, gradient_accumulation_steps=1, num_generations=3, max_steps=2,
        max_completion_length=6, learning_rate=1e-6, bf16=True, **form,
    )  # fmt: skip
    samples = [Sample(str(i), "image_preference", "x", pictures[:2], gold={"p_first": 1.0}) for i in range(2)]
    encoder = PromptEncoder(vlm)
    GRPOTrainer(
        vlm, TEMPLATE, samples, section, engine=TransformersEngine(vlm, encoder), encoder=encoder, listener=None,
        log=lambda *_: None, seed=0,
    ).train()  # fmt: skip
    moved = torch.cat([(weight != start[name]).flatten() for name, weight in vlm.model.named_parameters()])
    assert moved.float().mean() > 0.8
    assert all(weight.dtype == torch.float32 for weight in vlm.model.parameters())


def test_the_reference_reads_in_the_policys_precision(
    tiny: Vlm, perturbed: Callable[[Vlm], Vlm], pictures: tuple[Image.Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first update they are the same model, so that the KL term is 0, also where passes run in bf16."""
    monkeypatch.setitem(rewards.REWARDS, "luck", Reward("luck", (0.0, 6.0), luck))
    vlm = in_dtype(perturbed(tiny), torch.float32)
    section = GrpoSection(
        rewards="luck", prompts_per_device=1, gradient_accumulation_steps=1, num_generations=3, max_steps=1,
        max_completion_length=6, learning_rate=1e-6, bf16=True, beta=0.04,
    )  # fmt: skip
    sample, encoder, logged = (
        Sample("0", "image_preference", "x", pictures[:2], gold={"p_first": 1.0}),
        PromptEncoder(vlm),
        [],
    )
    GRPOTrainer(
        vlm, TEMPLATE, [sample], section, engine=TransformersEngine(vlm, encoder), encoder=encoder, listener=None,
        log=lambda _, values: logged.append(values), seed=0,
    ).train()  # fmt: skip
    assert logged[0]["kl"] == 0


def test_dropout_is_no_difference_between_engine_and_trainer(
    tiny: Vlm, perturbed: Callable[[Vlm], Vlm], pictures: tuple[Image.Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine samples without dropout, and so are the old log-probabilities of the ratio."""
    monkeypatch.setitem(rewards.REWARDS, "luck", Reward("luck", (0.0, 6.0), luck))
    vlm = add_lora(in_dtype(perturbed(tiny), torch.float32), LoraSection(r=4, alpha=64, dropout=0.5))
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:
                weight.normal_()  # they are zero at first
    section = GrpoSection(
        rewards="luck", prompts_per_device=1, gradient_accumulation_steps=1, num_generations=3, max_steps=1,
        max_completion_length=6, beta=0.0,
    )  # fmt: skip
    encoder, lines = PromptEncoder(vlm), []
    sample = Sample("a", "image_preference", "x", pictures[:2], gold={"p_first": 1.0})
    GRPOTrainer(
        vlm, TEMPLATE, [sample], section, engine=TransformersEngine(vlm, encoder), encoder=encoder, listener=None,
        log=lambda _, line: lines.append(line), seed=0,
    ).train()  # fmt: skip
    assert lines[0]["sampler_logprob_gap_max"] < 1e-4 and lines[0]["ratio"] != pytest.approx(1, abs=1e-4)


def optimization(vlm: Vlm) -> Optimization:
    return Optimization(vlm, SftSection(max_steps=1), RunSection(), micro_batch_size=1, steps=1, seed=0)


def test_one_process_on_a_machine_of_four_gpus_takes_one_and_says_so(
    tiny: Vlm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`transformers.Trainer` would wrap the policy in `nn.DataParallel`, which splits packed rows."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    warn_once.cache_clear()
    assert type(optimization(in_dtype(tiny, torch.float32)).model) is PolicyModule
    assert "1 of 4 GPUs is used" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_without_fp32_copies_are_refused(dtype: torch.dtype, tiny: Vlm) -> None:
    with pytest.raises(
        InputError, match=rf"weights in {dtype} would be trained.*set model.dtype: float32 with bf16: true"
    ):
        optimization(in_dtype(tiny, dtype))


def test_fp32_adapters_of_a_bf16_base_are_trained(tiny: Vlm) -> None:
    optimization(add_lora(in_dtype(tiny, torch.bfloat16), LoraSection(r=2)))


@pytest.mark.parametrize(
    ("model", "run", "dtype"),
    [
        ({}, {}, "float32"),
        ({"dtype": "bfloat16"}, {}, "bfloat16"),
        ({"lora": {}}, {}, "auto"),
        ({}, {"deepspeed": "zero2.json"}, "auto"),
    ],
)
def test_auto_is_fp32_where_nobody_else_keeps_fp32_copies(
    model: dict[str, Any], run: dict[str, Any], dtype: str
) -> None:
    assert trained_dtype(Config.model_validate({"task": "qa", "model": model, "run": run})) == dtype
