"""How processes share the state of a training, and what DeepSpeed itself holds for that, by its configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError

HALF = 2
"""Bytes of a weight or gradient on its way between processes."""


@dataclass(frozen=True, slots=True)
class Sharding:
    """The processes that share a model's state, and DeepSpeed's settings, with its defaults.

    Attributes:
        ranks: the number of processes, one per GPU.
        stage: ZeRO's: optimiser state is shared from 1 on, gradients from 2, weights from 3; 0 is DDP.
        reduce_bucket: elements of the buffer in which gradients are exchanged, two of them with ``overlap`` in stage 2.
        live_weights: the most elements of weights that stage 3 holds gathered.
        step_group: elements that stage 3's optimiser steps at once.
        fp32_gradients: gradients are accumulated in fp32.
        offloads_optimizer: its state and the gradients are in the memory of the CPU. ``offloads_weights``: these are.
    """

    ranks: int = 1
    stage: int = 0
    reduce_bucket: int = 500_000_000
    overlap: bool = False
    live_weights: int = 1_000_000_000
    step_group: int = 1_000_000_000
    fp32_gradients: bool = False
    offloads_optimizer: bool = False
    offloads_weights: bool = False

    def share(self, size: int, from_stage: int) -> int:
        """What one GPU holds of something that ZeRO shares from a stage on."""
        return size // self.ranks if self.stage >= from_stage else size

    def buffers(self, weights: int) -> int:
        """Bytes of DeepSpeed's buffers for a model of so many weights."""
        if self.stage < 2:
            return 0
        if self.stage == 2:
            return HALF * self.reduce_bucket * (2 if self.overlap else 1)
        return HALF * (self.reduce_bucket + min(self.live_weights, weights))


def read_sharding(file: Path | None, ranks: int) -> Sharding:
    """The sharding of a DeepSpeed configuration; without one, DDP.

    Raises:
        InputError: the file cannot be read, or has no ZeRO stage.
    """
    if file is None:
        return Sharding(ranks)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        zero = settings["zero_optimization"]
        return Sharding(
            ranks,
            int(zero["stage"]),
            overlap=bool(zero.get("overlap_comm")),
            fp32_gradients=settings.get("data_types", {}).get("grad_accum_dtype") == "fp32",
            offloads_optimizer=_is_offloaded(zero.get("offload_optimizer")),
            offloads_weights=_is_offloaded(zero.get("offload_param")),
            **{
                name: int(float(zero[key]))
                for name, key in (
                    ("reduce_bucket", "reduce_bucket_size"),
                    ("live_weights", "stage3_max_live_parameters"),
                    ("step_group", "sub_group_size"),
                )
                if zero.get(key, "auto") != "auto"
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"cannot read the ZeRO stage ({error})", file=file, remedy="see scripts/deepspeed/") from None


def _is_offloaded(section: Any) -> bool:
    return bool(section) and section.get("device", "none") != "none"
