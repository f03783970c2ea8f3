"""`--dry-run`: a stage's steps, tokens and estimated memory, without loading weights or writing a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from reasoner_rm.rollout.vllm.launch import TRAINING_SHARE
from reasoner_rm.schema import Sample
from reasoner_rm.training.memory_estimate import (
    BatchShape,
    ListenerMemory,
    MemoryEstimate,
    VllmMemory,
    counts,
    estimate,
)
from reasoner_rm.training.run_dir import RunDir, Stage
from reasoner_rm.training.zero_memory import Sharding, read_sharding

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
    sharding = read_sharding(config.run.deepspeed, gpus)
    if sharding.stage == 3:
        check_unsharded(config.model.quantize is not None)
    lengths, patches = _lengths(config, samples)
    section = section_of(config, stage)
    steps = _grpo(section, samples, gpus) if isinstance(section, GrpoSection) else _sft(section, samples, gpus)
    memory = memory_of(config, stage, max(lengths), patches, sharding=sharding, card_gb=gpu_gb)
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
    config: Config, stage: Stage, prompt: int, patches: int, *, sharding: Sharding | None = None,
    card_gb: float | None = None, architecture: Callable[[str], Any] = architecture_of,
) -> MemoryEstimate:  # fmt: skip
    """The estimated memory of a stage on one GPU. Engine `auto` counts as vLLM, which it is there if vLLM is installed.

    Args:
        prompt: tokens of the longest prompt.
        patches: the most image patches of a prompt.
        sharding: None: one GPU.
        card_gb: the memory of the GPU, of which vLLM takes a share; None: what its weights and a rollout need.
        architecture: returns the configuration of a model path.
    """
    section, engine = section_of(config, stage), config.engine
    model = config.model.model_copy(update={"dtype": trained_dtype(config)})
    policy = architecture(config.model.path)
    if not isinstance(section, GrpoSection):
        update = BatchShape(getattr(section, "batch_size", 1), prompt, 1, TARGET_TOKENS, patches)
        return estimate(policy, model, section, update, None, sharding=sharding)
    update, rollout = _batch_shapes(section, prompt, patches)
    share = 0 if engine.name == "http" else _share(engine.gpu_memory_utilization or TRAINING_SHARE, card_gb)
    return estimate(
        policy, model, section, update, rollout, sharding=sharding, reference=section.beta > 0,
        listener=_listener_memory(config, policy, architecture, card_gb),
        vllm=None if engine.name == "transformers" else VllmMemory(share, engine.sleep),
    )  # fmt: skip


def _share(of_card: float, card_gb: float | None) -> int | None:
    return None if card_gb is None else int(of_card * card_gb * GB)


def _listener_memory(
    config: Config, policy: Any, architecture: Callable[[str], Any], card_gb: float | None
) -> ListenerMemory | None:
    """What the run's listener takes of the policy's GPU."""
    listening = config.listener
    if listening.path is None or listening.endpoint is not None:
        return None
    size = 4 if listening.dtype == "float32" else 2
    if listening.path == POLICY_BASE:
        return ListenerMemory(0, policy, size)
    model = architecture(listening.path)
    weights = counts(model, ModelSection(dtype=listening.dtype)).stored
    if listening.engine == "vllm":
        return ListenerMemory(_share(listening.gpu_memory_utilization, card_gb) or weights)
    return ListenerMemory(weights, model, size)


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


def advice(config: Config, section: GrpoSection | SftSection, memory: MemoryEstimate) -> list[str]:
    """What reduces the memory, for the largest part first; each names its part, and what this is of the total."""
    parts: list[tuple[str, int, str]] = []
    whole = config.model.lora is None
    if whole:
        state = memory.optimizer + memory.gradients
        parts.append(("optimiser and gradients", state, "model.lora trains low-rank layers only, on one GPU"))
        if memory.reference:
            parts.append(("reference", memory.reference, "model.lora, whose base it then is, or grpo.beta: 0"))
        if read_sharding(config.run.deepspeed, 1).stage < 3:
            shared = memory.weights + memory.optimizer
            parts.append(("weights and optimiser", shared, "run.deepspeed: scripts/deepspeed/zero3.json, more GPUs"))
    elif config.model.quantize is None:
        parts.append(("weights", memory.weights, "model.quantize: nf4, for the frozen weights"))
    if not section.gradient_checkpointing:
        parts.append(("activations", memory.activations, "gradient_checkpointing: true"))
    if isinstance(section, GrpoSection):
        lend = "serve it (listener.endpoint)" if whole else "listener.path: policy, the policy's base, or serve it"
        parts += [
            ("listener", memory.listener + memory.listening, lend),
            ("activations", memory.activations, "a lower grpo.max_tokens_per_forward, with the same gradient"),
            ("KV cache", memory.kv_cache, "fewer grpo.num_generations, or a shorter grpo.max_completion_length"),
            ("vLLM", memory.engine + memory.engine_awake, "a lower engine.gpu_memory_utilization, or a server"),
        ]
    parts.sort(key=lambda part: -part[1])
    total = memory.total / GB
    return [f"{name}, {size / GB:.1f} of {total:.1f} GB: {way}" for name, size, way in parts if size]
