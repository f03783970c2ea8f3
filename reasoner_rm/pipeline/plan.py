"""Know before you start: what a stage would do and hold, without loading a model or writing a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasoner_rm.config import Config, GrpoSection, SftSection
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.policy.counting import Counter
from reasoner_rm.policy.loading import resolve_model
from reasoner_rm.rewards import resolve
from reasoner_rm.schema import Sample
from reasoner_rm.training.estimate import Memory, Shape, estimate
from reasoner_rm.training.rundir import Stage

GB = 10**9
ASKED = 32
"""How many samples are counted token by token."""
ROWS = 128
"""How many completions the transformers engine decodes side by side."""


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
    from transformers import AutoConfig

    if gpus < 1:
        raise InputError(f"{gpus} GPUs train nothing", remedy="set --gpus to 1 or more")
    name = "cold_start" if stage == "cold_start" else "train"
    file = getattr(config.data, name)
    if file is None:
        raise InputError(f"data.{name} is not set", remedy=f"name a JSONL file as data.{name} in the config")
    samples = load_samples(file)
    model = config.model
    lengths = _lengths(config, samples)
    longest = max(lengths)
    if stage == "grpo":
        resolve(config.grpo.rewards)
        steps, update, rollout = _grpo(config.grpo, samples, longest, gpus)
        section: GrpoSection | SftSection = config.grpo
    else:
        section = config.sft if stage == "cold_start" else config.sift.sft
        steps, update, rollout = _sft(section, samples, longest, gpus), Shape(section.batch_size, longest, 1, 256), None
    memory = estimate(
        AutoConfig.from_pretrained(resolve_model(model.path)), model, section, update, rollout,
        ranks=gpus, stage=zero_stage(config.run.deepspeed), reference=stage == "grpo" and config.grpo.beta > 0,
    )  # fmt: skip
    found: dict[str, Any] = {
        "stage": stage,
        "samples": len(samples),
        "prompt_tokens": {"longest": longest, "mean": round(sum(lengths) / len(lengths), 1), "counted": len(lengths)},
        "steps": steps,
        "memory_gb": {part: round(size / GB, 3) for part, size in memory.as_json().items()},
    }
    if speed is not None and "tokens_a_step" in steps:
        found["rollout_seconds_a_step"] = round(steps["tokens_a_step"] / gpus / speed, 1)
    if gpu_gb is not None:
        found["fits"] = memory.total <= gpu_gb * GB
        found["advice"] = [] if found["fits"] else advice(config, section, memory)
    return found


def _lengths(config: Config, samples: Sequence[Sample]) -> list[int]:
    """Tokens of some prompts, images included, spread over the data."""
    counter = Counter.of(config.model.path, config.template, config.model.min_pixels, config.model.max_pixels)
    chosen = samples[:: max(1, len(samples) // ASKED)]
    return [counter.text(s) + sum(counter.image(open_image(ref)) - 1 for ref in counter.shown(s)) for s in chosen]


def _grpo(
    section: GrpoSection, samples: Sequence[Sample], longest: int, gpus: int
) -> tuple[dict[str, int], Shape, Shape]:
    """The steps, the largest pass of the update, and what is rolled out side by side."""
    prompts = section.prompts_per_device * section.accumulation
    generations, length = max((section.lengths(step) for step in _turns(section)), key=lambda pair: pair[0] * pair[1])
    number = section.last_step
    if number <= 0:
        number = math.ceil(section.epochs * (len(samples) // (prompts * gpus))) * section.num_iterations
    together = section.prompts_per_device
    if section.max_tokens_per_forward is not None:
        together = max(1, min(together, section.max_tokens_per_forward // (longest + generations * length)))
        room = max(1, (section.max_tokens_per_forward - longest) // length)
        update = Shape(together, longest, min(generations, room), length)
    else:
        update = Shape(together, longest, generations, length)
    steps = {
        "optimizer_steps": number,
        "groups_a_step": prompts * gpus,
        "completions_a_step": prompts * gpus * generations,
        "tokens_a_step": prompts * gpus * generations * length,
        "groups": prompts * gpus * math.ceil(number / section.num_iterations),
    }
    return steps, update, Shape(max(1, min(prompts, ROWS // generations)), longest, generations, length)


def _turns(section: GrpoSection) -> list[int]:
    """A step of each stage of length."""
    return [sum(s.steps for s in section.stages[:i]) for i in range(len(section.stages))] or [0]


def _sft(section: SftSection, samples: Sequence[Sample], longest: int, gpus: int) -> dict[str, int]:
    window = section.batch_size * section.accumulation * gpus
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


def advice(config: Config, section: GrpoSection | SftSection, memory: Memory) -> list[str]:
    """Settings that make it smaller, the largest part's first."""
    ways: list[tuple[int, str]] = []
    if config.model.lora is None:
        trained = memory.optimizer + memory.gradients + memory.reference
        ways.append((trained, "model.lora: train a few layers, on one GPU"))
        if zero_stage(config.run.deepspeed) < 3:
            ways.append((memory.weights + memory.optimizer, "run.deepspeed=scripts/deepspeed/zero3.json, on more GPUs"))
    if not section.gradient_checkpointing:
        ways.append((memory.activations, "gradient_checkpointing: true"))
    if isinstance(section, GrpoSection):
        ways.append((memory.activations, "grpo.max_tokens_per_forward: a group in parts, to the same gradient"))
        ways.append((memory.kv_cache, "fewer grpo.num_generations, or a shorter grpo.max_completion_length"))
    return [way for size, way in sorted(ways, key=lambda pair: -pair[0]) if size]
