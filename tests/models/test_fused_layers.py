"""Compiled norms and MLPs compute what the model's own do; Liger's are refused where they cannot run."""

from __future__ import annotations

import copy
import dataclasses
import functools

import pytest
import torch

from reasoner_rm.errors import InputError
from reasoner_rm.models.fused_layers import fuse_layers
from reasoner_rm.models.loading import Vlm


def test_compiled_layers_are_the_same_model(tiny: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_whole = torch.nn.Module.compile  # without code generation, which takes a minute
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(compile_whole, backend="aot_eager"))
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
    for mine, theirs in zip(states_and_gradient(), want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert [n for n, _ in model.named_parameters()] == names


def test_liger_without_a_gpu_or_without_liger(tiny: Vlm) -> None:
    with pytest.raises(InputError, match=r"liger"):
        fuse_layers(tiny.model, "liger")
