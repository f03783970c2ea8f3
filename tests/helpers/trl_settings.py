"""What TRL's GRPO trainer is told wherever it runs beside ours: on the CPU, in the order given, nothing kept."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {
    "logging_steps": 1,
    "shuffle_dataset": False,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
}
