"""`--dry-run`: a stage's steps, tokens and estimated memory, without loading weights or writing a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reasoner_rm.config import Config, GrpoSection, ModelSection, SftSection
from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import load_architecture, resolve_model
from reasoner_rm.models.quantization import check_unsharded
from reasoner_rm.models.token_counter import Counter
from reasoner_rm.pipeline.context import RunContext, trained_dtype
from reasoner_rm.pipeline.listener_factory import POLICY_BASE
from reasoner_rm.pipeline.preflight import check_stage, section_of
from reasoner_rm.schema import Sample
from reasoner_rm.training.memory_estimate import BatchShape, MemoryEstimate, counts, estimate
from reasoner_rm.training.run_dir import RunDir, Stage

GB = 10**9
MAX_COUNTED = 32
"""The number of samples whose tokens are counted."""
DECODE_ROWS = 128
"""The number of completions that the transformers engine decodes at once."""
TARGET_TOKENS = 256
"""The assumed length of an SFT target."""


def architecture_of(path: str) -> Any:
    """A model's configuration."""
    return load_architecture(resolve_model(path))


def plan(
    config: Config, stage: Stage, *, gpus: int = 1, gpu_gb: float | None = None, speed: float | None = None
) -> dict[str, Any]:
    """A stage's samples, prompt lengths, steps and estimated memory per GPU, as a JSON object.

    Args:
        gpus: the number of GPUs.
        gpu_gb: the memory of one GPU, to say whether the stage fits and what would reduce it.
        speed: generated tokens per second of one GPU, to estimate the rollout's time per step.

    Raises:
        InputError: settings or data that would stop the stage.
    """
    if gpus < 1:
        raise InputError(f"--gpus is {gpus}", remedy="give at least 1")
    samples = check_stage(RunContext(config, RunDir(config.run.out)), stage, gpus)
    sharding = zero_stage(config.run.deepspeed)
    if sharding == 3:
        check_unsharded(config.model.quantize is not None)
    lengths, patches = _lengths(config, samples)
    section = section_of(config, stage)
    steps = _grpo(section, samples, gpus) if isinstance(section, GrpoSection) else _sft(section, samples, gpus)
    memory = memory_of(config, stage, max(lengths), patches, gpus=gpus, sharding=sharding)
    mean = round(sum(lengths) / len(lengths), 1)
    result: dict[str, Any] = {
        "stage": stage,
        "samples": len(samples),
        "prompt_tokens": {"longest": max(lengths), "mean": mean, "counted": len(lengths)},
        "steps": steps,
        "memory_gb": {part: round(size / GB, 3) for part, size in memory.as_json().items()},
    }
    if speed is not None and "tokens_a_step" in steps:
        result["rollout_seconds_a_step"] = round(steps["tokens_a_step"] / gpus / speed, 1)
    if gpu_gb is not None:
        result["fits"] = memory.total <= gpu_gb * GB
        result["advice"] = [] if result["fits"] else advice(config, section, memory)
    return result


def memory_of(
    config: Config, stage: Stage, prompt: int, patches: int, *, gpus: int = 1, sharding: int = 0,
    architecture: Callable[[str], Any] = architecture_of,
) -> MemoryEstimate:  # fmt: skip
    """The estimated memory of a stage on one GPU.

    Args:
        prompt: tokens of the longest prompt.
        patches: the most image patches of a prompt.
        sharding: the ZeRO stage.
        architecture: returns the configuration of a model path.
    """
    section, listening = section_of(config, stage), config.listener
    model = config.model.model_copy(update={"dtype": trained_dtype(config)})
    update, rollout = BatchShape(getattr(section, "batch_size", 1), prompt, 1, TARGET_TOKENS, patches), None
    if isinstance(section, GrpoSection):
        update, rollout = _batch_shapes(section, prompt, patches)
    listener_bytes = 0
    if stage == "grpo" and listening.path not in (None, POLICY_BASE) and listening.endpoint is None:
        listener_bytes = counts(architecture(str(listening.path)), ModelSection(dtype=listening.dtype)).stored
    return estimate(
        architecture(config.model.path), model, section, update, rollout, ranks=gpus, stage=sharding,
        reference=stage == "grpo" and config.grpo.beta > 0, listener=listener_bytes,
    )  # fmt: skip


def _lengths(config: Config, samples: Sequence[Sample]) -> tuple[list[int], int]:
    """The prompt lengths of up to `MAX_COUNTED` samples at even intervals, images included; the most patches of one."""
    counter = Counter.of(config.model.path, config.template, config.model.min_pixels, config.model.max_pixels)
    chosen = samples[:: max(1, len(samples) // MAX_COUNTED)]
    image_tokens = [[counter.image(open_image(ref)) for ref in counter.shown(sample)] for sample in chosen]
    lengths = [
        counter.text(sample) + sum(images) - len(images) for sample, images in zip(chosen, image_tokens, strict=True)
    ]
    return lengths, max(map(sum, image_tokens)) * counter.processor.image_processor.merge_size**2


def _longest(section: GrpoSection) -> tuple[int, int]:
    """(num_generations, max_completion_length) of the part of the length schedule with the most tokens."""
    starts = [sum(s.steps for s in section.length_schedule[:i]) for i in range(len(section.length_schedule))] or [0]
    return max((section.lengths(step) for step in starts), key=lambda pair: pair[0] * pair[1])


def _batch_shapes(section: GrpoSection, prompt: int, patches: int) -> tuple[BatchShape, BatchShape]:
    """The largest forward pass of the update, and the largest batch of the rollout."""
    generations, length = _longest(section)
    groups, completions = section.prompts_per_device, generations
    if section.max_tokens_per_forward is not None:
        groups = max(1, min(groups, section.max_tokens_per_forward // (prompt + generations * length)))
        completions = min(generations, max(1, (section.max_tokens_per_forward - prompt) // length))
    rollout_groups = max(
        1, min(section.prompts_per_device * section.gradient_accumulation_steps, DECODE_ROWS // generations)
    )
    return BatchShape(groups, prompt, completions, length, patches), BatchShape(
        rollout_groups, prompt, generations, length, patches
    )


def _grpo(section: GrpoSection, samples: Sequence[Sample], gpus: int) -> dict[str, int]:
    prompts, number = section.prompts_per_device * section.gradient_accumulation_steps, section.last_step
    generations, length = _longest(section)
    if number <= 0:
        number = math.ceil(section.epochs * (len(samples) // (prompts * gpus))) * section.num_iterations
    return {
        "optimizer_steps": number,
        "groups_a_step": prompts * gpus,
        "completions_a_step": prompts * gpus * generations,
        "tokens_a_step": prompts * gpus * generations * length,
        "groups": prompts * gpus * math.ceil(number / section.num_iterations),
    }


def _sft(section: SftSection, samples: Sequence[Sample], gpus: int) -> dict[str, int]:
    batch = section.batch_size * section.gradient_accumulation_steps * gpus
    number = section.max_steps if section.max_steps > 0 else math.ceil(section.epochs * len(samples) / batch)
    return {"optimizer_steps": number, "samples_a_step": batch}


def zero_stage(file: Path | None) -> int:
    """The stage of a DeepSpeed configuration; 0 without one."""
    if file is None:
        return 0
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read the ZeRO stage ({error})", file=file, remedy="see scripts/deepspeed/") from None


def advice(config: Config, section: GrpoSection | SftSection, memory: MemoryEstimate) -> list[str]:
    """Settings that reduce the memory, the one for the largest part first."""
    options: list[tuple[int, str]] = []
    if config.model.lora is None:
        trained = memory.optimizer + memory.gradients + memory.reference
        options.append((trained, "model.lora: train low-rank layers only, on one GPU"))
        if zero_stage(config.run.deepspeed) < 3:
            options.append((memory.weights + memory.optimizer, "run.deepspeed: scripts/deepspeed/zero3.json"))
    elif config.model.quantize is None:
        options.append((memory.weights, "model.quantize: nf4, for the frozen weights"))
    if not section.gradient_checkpointing:
        options.append((memory.activations, "gradient_checkpointing: true"))
    if isinstance(section, GrpoSection):
        options.append((memory.activations, "grpo.max_tokens_per_forward: split groups, with the same gradient"))
        options.append((memory.kv_cache, "fewer grpo.num_generations, or a shorter grpo.max_completion_length"))
    return [option for size, option in sorted(options, key=lambda pair: -pair[0]) if size]
