"""Know before you start: what a stage would do and hold, without loading a model or writing a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reasoner_rm.config import Config, GrpoSection, ModelSection, SftSection
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import resolve_model
from reasoner_rm.models.quantization import check_quantize, check_unsharded
from reasoner_rm.models.token_counter import Counter
from reasoner_rm.pipeline.listener_factory import POLICY_BASE
from reasoner_rm.rewards import parse_spec
from reasoner_rm.schema import Sample
from reasoner_rm.training.memory_estimate import BatchShape, MemoryEstimate, counts, estimate
from reasoner_rm.training.run_dir import Stage

GB = 10**9
ASKED = 32
"""How many samples are counted token by token."""
ROWS = 128
"""How many completions the transformers engine decodes side by side."""


TARGET = 256
"""Tokens of a target, as SFT is planned."""


def architecture_of(path: str) -> Any:
    """A model's configuration."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(resolve_model(path))


def plan(
    config: Config, stage: Stage, *, gpus: int = 1, gpu_gb: float | None = None, speed: float | None = None
) -> dict[str, Any]:
    """Everything about a stage that can be known ahead; as JSON knows it.

    Args:
        gpus: how many would train.
        gpu_gb: what one of them holds, for advice on what does not fit.
        speed: generated tokens a second of one GPU, measured elsewhere, for the time of a step's rollout.

    Raises:
        InputError: whatever would have stopped the stage later.
    """
    if gpus < 1:
        raise InputError(f"{gpus} GPUs train nothing", remedy="set --gpus to 1 or more")
    name = "cold_start" if stage == "cold_start" else "train"
    file = getattr(config.data, name)
    if file is None:
        raise InputError(f"data.{name} is not set", remedy=f"name a JSONL file as data.{name} in the config")
    samples = load_samples(file)
    model, sharding = config.model, zero_stage(config.run.deepspeed)
    check_quantize(model)
    if sharding == 3:
        check_unsharded(model.quantize is not None)
    if stage == "grpo":
        parse_spec(config.grpo.rewards)
    lengths, patches = _lengths(config, samples)
    section = _section(config, stage)
    steps = _grpo(section, samples, gpus) if isinstance(section, GrpoSection) else _sft(section, samples, gpus)
    memory = memory_of(config, stage, max(lengths), patches, gpus=gpus, sharding=sharding)
    mean = round(sum(lengths) / len(lengths), 1)
    found: dict[str, Any] = {
        "stage": stage,
        "samples": len(samples),
        "prompt_tokens": {"longest": max(lengths), "mean": mean, "counted": len(lengths)},
        "steps": steps,
        "memory_gb": {part: round(size / GB, 3) for part, size in memory.as_json().items()},
    }
    if speed is not None and "tokens_a_step" in steps:
        found["rollout_seconds_a_step"] = round(steps["tokens_a_step"] / gpus / speed, 1)
    if gpu_gb is not None:
        found["fits"] = memory.total <= gpu_gb * GB
        found["advice"] = [] if found["fits"] else advice(config, section, memory)
    return found


def memory_of(
    config: Config, stage: Stage, prompt: int, patches: int, *, gpus: int = 1, sharding: int = 0,
    architecture: Callable[[str], Any] = architecture_of,
) -> MemoryEstimate:  # fmt: skip
    """What a stage holds on one GPU.

    Args:
        prompt, patches: the longest prompt's tokens, and the most patches that the images of one have.
        sharding: the ZeRO stage.
        architecture: the configuration of a model by its path.
    """
    section, hears = _section(config, stage), config.listener
    update, rollout = BatchShape(getattr(section, "batch_size", 1), prompt, 1, TARGET, patches), None
    if isinstance(section, GrpoSection):
        update, rollout = _passes(section, prompt, patches)
    listener = 0
    if stage == "grpo" and hears.path not in (None, POLICY_BASE) and hears.endpoint is None:
        listener = counts(architecture(str(hears.path)), ModelSection(dtype=hears.dtype)).stored
    return estimate(
        architecture(config.model.path), config.model, section, update, rollout, ranks=gpus, stage=sharding,
        reference=stage == "grpo" and config.grpo.beta > 0, listener=listener,
    )  # fmt: skip


def _section(config: Config, stage: Stage) -> GrpoSection | SftSection:
    if stage == "grpo":
        return config.grpo
    return config.sft if stage == "cold_start" else config.rejection_sampling.sft


def _lengths(config: Config, samples: Sequence[Sample]) -> tuple[list[int], int]:
    """Tokens of some prompts, images included, spread over the data; the most patches that the images of one have."""
    counter = Counter.of(config.model.path, config.template, config.model.min_pixels, config.model.max_pixels)
    chosen = samples[:: max(1, len(samples) // ASKED)]
    seen = [[counter.image(open_image(ref)) for ref in counter.shown(sample)] for sample in chosen]
    lengths = [counter.text(sample) + sum(images) - len(images) for sample, images in zip(chosen, seen, strict=True)]
    return lengths, max(map(sum, seen)) * counter.processor.image_processor.merge_size**2


def _longest(section: GrpoSection) -> tuple[int, int]:
    """The completions of a prompt, and their length, where they are the most tokens."""
    turns = [sum(s.steps for s in section.length_schedule[:i]) for i in range(len(section.length_schedule))] or [0]
    return max((section.lengths(step) for step in turns), key=lambda pair: pair[0] * pair[1])


def _passes(section: GrpoSection, prompt: int, patches: int) -> tuple[BatchShape, BatchShape]:
    """The largest pass of the update, and what is rolled out side by side."""
    generations, length = _longest(section)
    groups, beside = section.prompts_per_device, generations
    if section.max_tokens_per_forward is not None:
        groups = max(1, min(groups, section.max_tokens_per_forward // (prompt + generations * length)))
        beside = min(generations, max(1, (section.max_tokens_per_forward - prompt) // length))
    together = max(1, min(section.prompts_per_device * section.gradient_accumulation_steps, ROWS // generations))
    return BatchShape(groups, prompt, beside, length, patches), BatchShape(
        together, prompt, generations, length, patches
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
    window = section.batch_size * section.gradient_accumulation_steps * gpus
    number = section.max_steps if section.max_steps > 0 else math.ceil(section.epochs * len(samples) / window)
    return {"optimizer_steps": number, "samples_a_step": window}


def zero_stage(file: Path | None) -> int:
    """The stage of a DeepSpeed configuration; 0 without one."""
    if file is None:
        return 0
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no ZeRO stage can be read ({error})", file=file, remedy="see scripts/deepspeed/") from None


def advice(config: Config, section: GrpoSection | SftSection, memory: MemoryEstimate) -> list[str]:
    """Settings that make it smaller, the largest part's first."""
    ways: list[tuple[int, str]] = []
    if config.model.lora is None:
        trained = memory.optimizer + memory.gradients + memory.reference
        ways.append((trained, "model.lora: train a few layers, on one GPU"))
        if zero_stage(config.run.deepspeed) < 3:
            ways.append((memory.weights + memory.optimizer, "run.deepspeed=scripts/deepspeed/zero3.json, on more GPUs"))
    elif config.model.quantize is None:
        ways.append((memory.weights, "model.quantize: nf4, below the trained layers"))
    if not section.gradient_checkpointing:
        ways.append((memory.activations, "gradient_checkpointing: true"))
    if isinstance(section, GrpoSection):
        ways.append((memory.activations, "grpo.max_tokens_per_forward: a group in parts, to the same gradient"))
        ways.append((memory.kv_cache, "fewer grpo.num_generations, or a shorter grpo.max_completion_length"))
    return [way for size, way in sorted(ways, key=lambda pair: -pair[0]) if size]
