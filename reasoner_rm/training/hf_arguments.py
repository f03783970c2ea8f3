"""A section of the configuration as `transformers.TrainingArguments`.

accelerate, DeepSpeed's `auto` values and the trackers of transformers read their settings from there.
"""

from __future__ import annotations

import tempfile

from transformers import TrainingArguments

from reasoner_rm.config import RunSection, TrainSection
from reasoner_rm.training.sharding import disable_op_build


def training_arguments(
    section: TrainSection, run: RunSection, *, cpu: bool, micro_batch_size: int, steps: int, seed: int
) -> TrainingArguments:
    """The settings of one training.

    Args:
        micro_batch_size: samples of one forward and backward pass of a process.
        steps: optimiser steps.
    """
    if run.deepspeed is not None and cpu:
        disable_op_build()
    return TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written there
        save_strategy="no",
        report_to=[],
        use_cpu=cpu,
        deepspeed=None if run.deepspeed is None else str(run.deepspeed),
        per_device_train_batch_size=micro_batch_size,
        gradient_accumulation_steps=section.gradient_accumulation_steps,
        learning_rate=section.learning_rate,
        max_steps=steps,
        warmup_steps=section.warmup_ratio,  # below 1 it is a share of the steps
        weight_decay=section.weight_decay,
        max_grad_norm=section.max_grad_norm,
        lr_scheduler_type=section.lr_scheduler_type,
        gradient_checkpointing=section.gradient_checkpointing,
        bf16=section.bf16,
        seed=seed,
    )
