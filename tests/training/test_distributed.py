"""Packed groups inside DDP's and DeepSpeed's forward, on two real processes: the averaged gradients are right."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from distributed_groups import GROUPS, loss_of
from launch_helpers import Ranks, finish

from reasoner_rm.models.loading import load_vlm
from reasoner_rm.training.policy_module import PolicyModule

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

BASE = "builtin:pocket-base"
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


def test_an_evaluation_on_the_way_is_divided_among_processes(tmp_path: Path) -> None:
    """Each asks for its samples in both orders, and has the metrics of one process that asks for all."""
    found = {}
    for count in (1, 2):
        finish(Ranks("distributed_training:evaluate_samples", (tmp_path, BASE), tmp_path / f"{count}.txt", count))
        files = [tmp_path / f"{rank}-of-{count}.json" for rank in range(count)]
        found[count] = [json.loads(file.read_text()) for file in files]
    ((asked, metrics),) = found[1]
    assert asked == 6 and metrics["well_formed"] is not None
    assert found[2] == [[4, metrics], [2, metrics]]
