"""Packed groups inside DDP's and DeepSpeed's forward, on two real processes: the averaged gradients are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from distributed_groups import GROUPS, loss_of
from launch_helpers import Ranks, finish

from reasoner_rm.models.loading import load_vlm
from reasoner_rm.training.policy_module import PolicyModule

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

NO_DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra `deepspeed` is not installed"
)


@pytest.mark.parametrize(
    "kind", ["ddp", pytest.param("zero2", marks=NO_DEEPSPEED), pytest.param("zero3", marks=NO_DEEPSPEED)]
)
def test_gradients_are_averaged_over_ranks(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "gradients.pt"
    finish(Ranks("distributed_groups:main", (kind, str(tiny_folder), str(out)), tmp_path / "output.txt", 2))
    found = torch.load(out)
    assert found["world"] == len(GROUPS) == 2
    assert found["kind"] == ("DistributedDataParallel" if kind == "ddp" else "DeepSpeedEngine")

    vlm = load_vlm(tiny_folder, device="cpu")
    model = PolicyModule(vlm)
    (sum(loss_of(model, vlm, rank) for rank in range(2)) / 2).backward()
    want = {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert want
    for name, grad in want.items():
        assert (found["gradients"][name] - grad).norm() <= 1e-4 * grad.norm() + 1e-8, name
