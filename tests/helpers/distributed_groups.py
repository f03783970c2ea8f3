"""What `test_distributed.py` starts on two processes: gradients of packed groups, reduced by DDP or DeepSpeed.

    torchrun --nproc_per_node 2 tests/helpers/distributed_groups.py ddp|zero2|zero3 CHECKPOINT OUT

Each rank holds another ragged group; rank 0 writes the world's size, and every gradient as the engine averaged it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from reasoner_rm import distributed
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.packing import forward_groups
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.sharding import disable_op_build

GROUPS = [((1, 2, 3), (4,), (5, 6)), ((7, 8), (9, 10, 11, 12))]


def loss_of(model: Any, vlm: Vlm, rank: int) -> torch.Tensor:
    """Any differentiable number of one rank's group."""
    encoder = PromptEncoder(vlm)
    image = Image.new("RGB", (56, 56), (40 * rank, 90, 200))
    prompt = Prompt((image, "which?" * (rank + 1)), (True, False))
    out = model(encoder.batch([encoder.encode(prompt)]), [GROUPS[rank]], form=forward_groups)
    return (out.logprobs * out.mask).sum() / out.mask.sum()


def main(kind: str, checkpoint: str, out: str) -> None:
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    vlm = load_vlm(checkpoint, device="cpu")
    model = PolicyModule(vlm)
    if kind == "ddp":
        wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        loss_of(wrapped, vlm, rank).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    else:
        import deepspeed
        from deepspeed.utils import safe_get_full_grad

        disable_op_build()
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": int(kind[-1])},
            "optimizer": {"type": "AdamW", "params": {"lr": 0.0, "torch_adam": True}},
            "zero_force_ds_cpu_optimizer": False,
            "zero_allow_untested_optimizer": True,
        }
        engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
        engine.backward(loss_of(engine, vlm, rank))
        found = {name: safe_get_full_grad(p) for name, p in model.named_parameters()}
        gradients = {name: g for name, g in found.items() if g is not None}
    if rank == 0:
        torch.save({"world": world, "kind": type(engine if kind != "ddp" else wrapped).__name__,
                    "gradients": gradients}, Path(out))  # fmt: skip
    distributed.shutdown()


def end_before_ddp(store: str) -> None:
    """A process group that ends before the DDP wrapper that it was made for; gloo's threads outlive both."""
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    wrapped = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    wrapped(torch.ones(1, 4)).sum().backward()
    distributed.shutdown()
    time.sleep(0.5)  # a destructor that could hang has no reason to now
    del wrapped
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    assert "pt_gloo_runloop" in threads, threads


if __name__ == "__main__":
    main(*sys.argv[1:])
