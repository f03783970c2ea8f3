"""The processes of one training, as `torchrun` or `accelerate launch` start them: ranks and collectives.

In one process every call returns at once. A collective has to be called by every process, in the same order.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist

from reasoner_rm.errors import InputError, ServiceError

T = TypeVar("T")

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for the others; the slowest rollout has to fit."""


def init() -> None:
    """Take the place that the launcher gave this process. Twice is once.

    One GPU a process where there are GPUs; a CPU speaks gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)


def shutdown() -> None:
    """Leave the process group, after all have come so far. A group of one is not ours: vLLM makes one."""
    if world_size() > 1:
        dist.barrier()
        dist.destroy_process_group()


def rank() -> int:
    """0 for the first process, which alone writes files that there is one of."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        dist.barrier()


def all_gather(value: T) -> list[T]:
    """The value of every process, by rank."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool) -> bool:
    """Whether it is so for any process: one that decides to stop stops them all, and leaves none waiting."""
    return any(all_gather(flag))


@contextlib.contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Inside, each process works by itself. What fails for one fails for all of them, here, so that none goes on to
    wait for it elsewhere.

    Raises:
        InputError, ServiceError: what a process met; the others name it.
    """
    met: Exception | None = None
    try:
        yield
    except Exception as error:
        met = error
    kinds = all_gather(None if met is None else (isinstance(met, ServiceError), str(met) or type(met).__name__))
    if met is not None:
        raise met
    for number, kind in enumerate(kinds):
        if kind is not None:
            service, text = kind
            raise (ServiceError if service else InputError)(f"process {number} stopped: {text}")
