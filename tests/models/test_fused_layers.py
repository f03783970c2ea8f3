"""Compiled norms and MLPs compute what the model's own do; Liger's are refused where they cannot run."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.models.fused_layers import fuse_layers
from reasoner_rm.models.loading import Vlm
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.training.run_dir import RunDir


def test_compiled_layers_are_the_same_model(tiny: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_whole, compiled = torch.nn.Module.compile, list[str]()

    def noted(module: torch.nn.Module, **settings: Any) -> None:
        compiled.append(type(module).__name__)
        compile_whole(module, backend="aot_eager", **settings)  # without code generation, which takes a minute

    monkeypatch.setattr(torch._dynamo.config, "disable", False)  # see conftest.py
    monkeypatch.setattr(torch.nn.Module, "compile", noted)
    model = copy.deepcopy(tiny.model)
    model.model.language_model.layers = model.model.language_model.layers[:1]
    vlm = dataclasses.replace(tiny, model=model)
    ids = torch.arange(20, 40)[None]

    def states_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        out = vlm.model(input_ids=ids).logits.log_softmax(-1)
        out[0, :, 7].sum().backward()
        return out.detach(), model.model.language_model.layers[0].mlp.up_proj.weight.grad.clone()

    want, names = states_and_gradient(), [n for n, _ in model.named_parameters()]
    fuse_layers(model, "compile")
    assert compiled == ["Qwen2_5_VLRMSNorm", "Qwen2_5_VLRMSNorm", "Qwen2MLP"]
    for mine, theirs in zip(states_and_gradient(), want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert [n for n, _ in model.named_parameters()] == names


def test_liger_without_a_gpu_or_without_liger(tiny: Vlm) -> None:
    with pytest.raises(InputError, match=r"liger"):
        fuse_layers(tiny.model, "liger")


def test_a_runs_setting_reaches_the_policy(tiny_folder: Path, tmp_path: Path) -> None:
    config = Config.model_validate({
        "task": "image_preference", "model": {"path": str(tiny_folder), "fused_layers": "liger"},
        "run": {"out": str(tmp_path / "run")},
    })  # fmt: skip
    with pytest.raises(InputError, match=r"model.fused_layers"):
        RunContext(config, RunDir(tmp_path / "run")).load_trainable()
