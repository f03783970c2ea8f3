"""What a training will hold in memory, part by part, from a model's configuration alone; nothing is loaded.

Activations are those of a packed group in this project's attention, counted tensor by tensor as autograd keeps them
(the test measures tiny models). A vision tower that is not trained keeps none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from reasoner_rm.config import ModelSection, TrainSection
from reasoner_rm.models.param_groups import part_of
from reasoner_rm.models.prefix_cache import PREFILL_TOKENS
from reasoner_rm.models.pretrained import build
from reasoner_rm.models.quantization import stored_bytes
from reasoner_rm.models.token_logprobs import MAX_LOGITS_CUDA
from reasoner_rm.training.zero_memory import Sharding

ADAM = 8
"""Bytes of a trained weight's two moments, in fp32."""


@dataclass(frozen=True, slots=True)
class BatchShape:
    """One pass: ``groups`` prompts of ``prompt`` tokens, with ``completions`` of ``length`` tokens each; ``patches``
    of all images of a prompt, before they are merged."""

    groups: int
    prompt: int
    completions: int
    length: int
    patches: int = 0

    @property
    def tokens(self) -> int:
        return self.groups * (self.prompt + self.completions * self.length)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one GPU.

    Attributes:
        listener: its weights, or the share of a vLLM engine of its own.
        buffers: DeepSpeed's, for the exchange of weights and gradients.
        activations, vision, logits: of the language model, the tower and the head, in the update.
        fp32_gradients: copies that DeepSpeed's optimiser steps with.
        kv_cache: of rollouts on the transformers engine. ``prefill``: the activations while it reads prompts.
            ``gathered``: the weights of other GPUs, which it brings together under ZeRO-3. ``merged``: copies of the
            weights that LoRA is added to.
        engine: vLLM's share in the rollout; in sleep mode it is free during the update. ``engine_awake``: without.
        listening: the activations of a listener in this process.
    """

    weights: int
    reference: int
    listener: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    vision: int
    logits: int
    fp32_gradients: int
    kv_cache: int = 0
    prefill: int = 0
    gathered: int = 0
    merged: int = 0
    engine: int = 0
    engine_awake: int = 0
    listening: int = 0

    @property
    def total(self) -> int:
        """The most at one time: rollout, update, and the optimiser's step do not hold theirs at once."""
        always = self.weights + self.reference + self.listener + self.gradients + self.optimizer + self.buffers
        rollout = self.kv_cache + self.prefill + self.gathered + self.merged + self.engine + self.listening
        update = self.activations + self.vision + self.logits
        return always + self.engine_awake + max(update, self.fp32_gradients, rollout)

    def as_json(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


@dataclass(frozen=True, slots=True)
class VllmMemory:
    """What vLLM takes in this process.

    Attributes:
        share: bytes of its share of the card; None where the card is not known: its weights and the KV cache of a
            rollout.
        sleeps: it gives them back during the update.
    """

    share: int | None = None
    sleeps: bool = True


@dataclass(frozen=True, slots=True)
class ListenerMemory:
    """What a listener on the same GPU takes.

    Attributes:
        held: bytes of its weights, or of an engine of its own; 0 for the policy's base.
        config: its model's configuration, where it computes in this process; None: elsewhere, or on vLLM.
        size: bytes of one of its activations.
    """

    held: int = 0
    config: Any = None
    size: int = 2


class Counts(NamedTuple):
    """How many weights a model has, and how many of them are trained, or beside them, as LoRA's are; how many bytes it
    takes to hold the model's own; and how many of these a rollout copies to add LoRA to."""

    every: int
    trained: int
    stored: int
    merged: int = 0


def counts(config: Any, model: ModelSection) -> Counts:
    """Of a model that is trained as ``model`` says."""
    import torch

    with torch.device("meta"):
        whole = build(config)
    every, width = sum(p.numel() for p in whole.parameters()), 4 if model.dtype == "float32" else 2
    if model.lora is None:
        frozen = sum(p.numel() for n, p in whole.named_parameters() if part_of(n) in model.freeze)
        return Counts(every, every - frozen, every * width)
    layers = whole.model.language_model.named_modules()
    linear = {name: layer.weight.shape for name, layer in layers if isinstance(layer, torch.nn.Linear)}
    adapted = [shape for name, shape in linear.items() if name.endswith(model.lora.targets)]
    beside, stored = sum(model.lora.r * sum(shape) for shape in adapted), every * width
    if model.quantize is not None:
        packed = sum(stored_bytes(model.quantize, rows, columns) for rows, columns in linear.values())
        stored += round(packed) - sum(shape.numel() for shape in linear.values()) * width
        return Counts(every, beside, stored)
    return Counts(every, beside, stored, sum(shape.numel() for shape in adapted) * width)


def layer_activations(text: Any, shape: BatchShape, size: int) -> int:
    """Bytes that autograd keeps of one decoder layer. Norms keep their input in fp32.

    Args:
        text: the language model's configuration. ``size``: bytes of an activation.
    """
    heads, shared = text.num_attention_heads, text.num_key_value_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    states = (5 * size + 2 * 4) * text.hidden_size
    gates = 4 * size * text.intermediate_size
    attention = 2 * (heads + shared) * dim * size + 4 * heads  # with the log-sum-exps, in fp32
    return int(shape.tokens * (states + gates + attention))


def activations(text: Any, shape: BatchShape, size: int, checkpointing: bool) -> int:
    """Bytes of all layers; with gradient checkpointing the inputs of each and the inside of one."""
    one = layer_activations(text, shape, size)
    if checkpointing:
        return int(text.num_hidden_layers * shape.tokens * text.hidden_size * size + one)
    return int(text.num_hidden_layers * one)


def block_activations(config: Any, patches: int, size: int) -> int:
    """Bytes that autograd keeps of one block of the vision tower: norms and what they make of their input; projections,
    queries and keys in their places, what is attended to, and the same in one piece; and the MLP."""
    vision = config.vision_config
    width = getattr(vision, "embed_dim", None) or vision.hidden_size
    inner = getattr(vision, "intermediate_size", None) or int(width * vision.mlp_ratio)
    norms, gates = {
        "qwen2_5_vl": (2 * (4 + 2 * size), 4),  # RMS in fp32; a gate
        "qwen2_vl": (4 * size, 3),  # x · sigmoid(1.702 x)
    }.get(config.model_type, (4 * size, 2))
    return int(patches * (norms * width + 7 * size * width + gates * size * inner))


def vision_activations(config: Any, shape: BatchShape, size: int, checkpointing: bool) -> int:
    """Bytes of a tower that is trained; see :func:`activations`."""
    vision, patches = config.vision_config, shape.groups * shape.patches
    one = block_activations(config, patches, size)
    if checkpointing:
        return int(vision.depth * patches * (getattr(vision, "embed_dim", None) or vision.hidden_size) * size + one)
    return int(vision.depth * one)


def logits(text: Any, shape: BatchShape, size: int, head: int, at_once: int = MAX_LOGITS_CUDA) -> int:
    """Bytes of the logits at their most, a bounded number at a time: in the forward pass in fp32, with their
    probabilities and which of these are zero; in the backward pass once, and in the activations' type, beside the
    gradient of the head that is being summed up.

    Args:
        head: bytes of the head's gradient, in fp32; 0 where it is not trained.
    """
    kept = min(shape.groups * shape.completions * shape.length * text.vocab_size, at_once)
    backward = 4 * kept + head if size == 4 else (4 + size) * kept + 2 * head  # a chunk's product, then their sum
    return int(max(9 * kept, backward))


def kv_cache(text: Any, shape: BatchShape, size: int) -> int:
    """Bytes of keys and values while ``shape`` is rolled out: a prompt's once, each completion's its own."""
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * shape.tokens * text.num_key_value_heads * dim * size)


def forward_activations(config: Any, shape: BatchShape, size: int, budget: int = PREFILL_TOKENS) -> int:
    """Bytes of a forward pass without gradients over whole prompts with their completions, of which as many are
    together as ``budget`` tokens hold: in a layer's MLP its gate, its projection and their product, beside five times
    the hidden states; before that, a block of the tower."""
    text, one = config.get_text_config(), shape.tokens // shape.groups
    groups = max(1, min(shape.groups, budget // one))
    mlp = min(groups * one, budget) * size * (3 * text.intermediate_size + 5 * text.hidden_size)
    return int(max(mlp, block_activations(config, groups * shape.patches, size)))


def estimate(
    config: Any, model: ModelSection, section: TrainSection, update: BatchShape, rollout: BatchShape | None, *,
    sharding: Sharding | None = None, reference: bool = False, listener: ListenerMemory | None = None,
    vllm: VllmMemory | None = None,
) -> MemoryEstimate:  # fmt: skip
    """Memory of one GPU.

    Args:
        update: one pass of the update. ``rollout``: the prompts that are answered side by side, None for SFT.
        sharding: None: one process.
        reference: a frozen copy of the policy, whole on each GPU.
        listener: one that this GPU has to do with.
        vllm: the rollouts' engine; None: the transformers engine.
    """
    sharding, listener = sharding or Sharding(), listener or ListenerMemory()
    every, trained, stored, merged = counts(config, model)
    size = 4 if model.dtype == "float32" and not section.bf16 else 2
    width = 4 if model.dtype == "float32" or model.lora is not None else 2  # LoRA layers are fp32 beside any base
    text, whole = config.get_text_config(), model.lora is None
    sees, speaks = (whole and part not in model.freeze for part in ("vision", "language_model"))
    mine = 0 if sharding.offloads_weights else sharding.share(stored, 3)
    away = sharding.offloads_optimizer
    moments = ADAM * trained + (4 * trained if sharding.stage and width == 2 else 0)
    stepped = min(sharding.share(trained, 1), sharding.step_group if sharding.stage == 3 else trained)
    rolls = {} if rollout is None else _rollout(config, rollout, size, stored, mine, vllm)
    if vllm is None and rollout is not None and sharding.stage < 3:
        rolls["merged"] = merged
    if rollout is not None and listener.config is not None:
        rolls["listening"] = forward_activations(listener.config, rollout, listener.size)
    return MemoryEstimate(
        weights=mine if model.lora is None else mine + width * trained,
        reference=stored if reference and model.lora is None else 0,
        listener=listener.held,
        gradients=0 if away else sharding.share(trained * (4 if sharding.fp32_gradients else width), 2),
        optimizer=0 if away else sharding.share(moments, 1),
        buffers=sharding.buffers(every),
        activations=activations(text, update, size, section.gradient_checkpointing),
        vision=vision_activations(config, update, size, section.gradient_checkpointing) if sees else 0,
        logits=logits(text, update, size, 4 * text.vocab_size * text.hidden_size if speaks else 0),
        fp32_gradients=4 * stepped if sharding.stage and not away else 0,
        **rolls,
    )


def _rollout(
    config: Any, rollout: BatchShape, size: int, stored: int, mine: int, vllm: VllmMemory | None
) -> dict[str, int]:
    """The parts of an estimate that the rollout's engine adds.

    Args:
        stored: bytes of all of the policy's weights, of which this GPU holds ``mine``.
    """
    cache = kv_cache(config.get_text_config(), rollout, size)
    if vllm is None:
        prompts = replace(rollout, completions=0)
        return {"kv_cache": cache, "prefill": forward_activations(config, prompts, size), "gathered": stored - mine}
    return {"engine" if vllm.sleeps else "engine_awake": stored + cache if vllm.share is None else vllm.share}
