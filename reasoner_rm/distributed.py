"""Ranks and collectives of a training launched by `torchrun` or `accelerate launch`.

With one process every call returns at once. A collective must be called by every process, in the same order.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist

from reasoner_rm.errors import InputError, ServiceError, StorageError

T = TypeVar("T")

TIMEOUT = datetime.timedelta(minutes=30)
"""The timeout of a collective; longer than the slowest rollout."""


def init() -> None:
    """Initialise the process group from the launcher's environment variables, unless that is done.

    NCCL with one GPU per process where there are GPUs, gloo on CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)


_destroyed: list[dist.ProcessGroup | None] = []
"""Gloo's destructor waits for a thread that may need the GIL. Python's reference releases the GIL first, but the one
that DDP's reducer holds does not: if it is the last, the process hangs. So it is never the last."""


def shutdown() -> None:
    """Destroy the process group after a barrier. A group of one process is vLLM's and is left alone."""
    if world_size() > 1:
        dist.barrier()
        _destroyed.append(dist.group.WORLD)
        dist.destroy_process_group()


def rank() -> int:
    """This process's rank; rank 0 writes the shared files."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def all_gather(value: T) -> list[T]:
    """The values of all processes, by rank."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank, so that all ranks take the same decision."""
    return any(all_gather(flag))


_KINDS = (InputError, ServiceError, StorageError)


@contextlib.contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """A context that raises on all ranks when one fails inside it, so that no rank waits in a later collective.

    Raises:
        InputError, ServiceError, StorageError: on the other ranks, naming the failed one; that one raises its own
            exception.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    kind = next((i for i, known in enumerate(_KINDS) if isinstance(failure, known)), 0)
    descriptions = all_gather(None if failure is None else (kind, str(failure) or type(failure).__name__))
    if failure is not None:
        raise failure
    for failed_rank, described in enumerate(descriptions):
        if described is not None:
            kind, text = described
            raise _KINDS[kind](f"process {failed_rank} stopped: {text}")
