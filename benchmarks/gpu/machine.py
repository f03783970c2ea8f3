"""The device's own speed, and the versions."""

from __future__ import annotations

import importlib.metadata
import sys

import torch
from harness import CUDA, DEVICE, milliseconds, put

put(
    "versions",
    {name: importlib.metadata.version(name) for name in ("torch", "transformers", "accelerate", "peft")}
    | {"python": sys.version.split()[0]},
)
if CUDA:
    put("device", [torch.cuda.get_device_name(), f"{torch.cuda.mem_get_info()[1] / 1e9:.0f} GB"])
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    put("bf16 TFLOP/s of an 8192^3 product", round(2 * 8192**3 / milliseconds(lambda: a @ b) / 1e9))
    source = torch.empty(2**31, device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(source)
    put("copy TB/s, read and written", round(2 * 2**31 / milliseconds(lambda: target.copy_(source)) / 1e9, 2))
