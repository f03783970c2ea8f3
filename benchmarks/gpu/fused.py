"""The update of 8,500 tokens without gradient checkpointing: layers as they are, compiled, and with Liger's kernels."""

from __future__ import annotations

from typing import Any

import torch
from harness import CUDA, attempt, profile, put
from model import random_policy
from row import LARGE, Row

from reasoner_rm.models.fused_layers import fuse_layers
from reasoner_rm.utils.memory import release_memory

# Liger last: it replaces the classes of later models as well
for by in (None, "compile", "liger"):
    vlm = random_policy(dtype=torch.bfloat16 if CUDA else torch.float32)
    row = Row(vlm, LARGE)
    if by is None:
        put("row", row.about)

    def measure(by: Any = by, row: Row = row) -> dict[str, Any]:
        if by is not None:
            fuse_layers(row.vlm.model, by)
        return row.figures()

    attempt(f"layers: {by or 'as they are'}", measure, 20)
    attempt(
        f"profile: {by or 'as they are'}",
        lambda row=row, by=by: profile(row.update, f"profile_{by or 'plain'}.txt"),
        15,
    )
    del vlm, row, measure
    release_memory()
