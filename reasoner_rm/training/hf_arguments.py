"""A section of the configuration as `transformers.Trainer` wants to be told."""

from __future__ import annotations

import tempfile

from transformers import TrainingArguments

from reasoner_rm.config import RunSection, TrainSection
from reasoner_rm.training.sharding import disable_op_build


def arguments(
    section: TrainSection, run: RunSection, *, cpu: bool, batch_size: int, steps: int, seed: int
) -> TrainingArguments:
    """What the trainer is told; what it is not told, stages do themselves."""
    if run.deepspeed is not None and cpu:
        disable_op_build()
    return TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written there: stages save bundles
        save_strategy="no",  # see `Keeper`
        report_to=[],
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=cpu,
        ignore_data_skip=True,  # the sampler begins where training left off
        deepspeed=None if run.deepspeed is None else str(run.deepspeed),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=section.gradient_accumulation_steps,
        learning_rate=section.learning_rate,
        max_steps=steps,
        warmup_steps=section.warmup_ratio,
        weight_decay=section.weight_decay,
        max_grad_norm=section.max_grad_norm,
        lr_scheduler_type=section.lr_scheduler_type,
        gradient_checkpointing=section.gradient_checkpointing,
        bf16=section.bf16,
        seed=seed,
    )
