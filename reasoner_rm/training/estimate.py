"""What a training will hold in memory, part by part, from a model's configuration alone; nothing is loaded.

Activations are those of a packed group in this project's attention, counted tensor by tensor as autograd keeps them
(the test measures a tiny model); the vision tower's are not counted, it is small or frozen in every recipe here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reasoner_rm.config import ModelSection, TrainSection
from reasoner_rm.policy.logps import LOGITS
from reasoner_rm.policy.model_parts import part_of

ADAM = 8
"""Bytes of a trained weight's two moments, in fp32."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One pass: ``groups`` prompts of ``prompt`` tokens, with ``completions`` of ``length`` tokens each."""

    groups: int
    prompt: int
    completions: int
    length: int

    @property
    def tokens(self) -> int:
        return self.groups * (self.prompt + self.completions * self.length)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU. ``gathered``: the weights of other GPUs, which a rollout brings together under ZeRO-3."""

    weights: int
    reference: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    kv_cache: int
    gathered: int = 0

    @property
    def total(self) -> int:
        """The update and the rollout do not hold theirs at once."""
        fixed = self.weights + self.reference + self.gradients + self.optimizer
        return fixed + max(self.activations + self.logits, self.kv_cache + self.gathered)

    def as_json(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


def counts(config: Any, model: ModelSection) -> tuple[int, int]:
    """How many weights a model has, and how many are trained."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        whole = AutoModelForImageTextToText.from_config(config)
    every = sum(p.numel() for p in whole.parameters())
    if model.lora is not None:
        linear = [m for n, m in whole.named_modules() if "language_model" in n and n.endswith(model.lora.targets)]
        return every, sum(model.lora.r * sum(m.weight.shape) for m in linear)  # type: ignore[union-attr, arg-type, misc]
    frozen = sum(p.numel() for n, p in whole.named_parameters() if part_of(n) in model.freeze)
    return every, every - frozen


def layer_activations(text: Any, shape: Shape, size: int) -> int:
    """Bytes that autograd keeps of one decoder layer. Norms keep their input in fp32.

    Args:
        text: the language model's configuration. ``size``: bytes of an activation.
    """
    heads, shared = text.num_attention_heads, text.num_key_value_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    rows, seen = shape.groups * shape.completions, shape.prompt + shape.length
    states = shape.tokens * (5 * size + 2 * 4) * text.hidden_size
    gates = shape.tokens * 4 * size * text.intermediate_size
    prompts = 2 * shape.groups * shape.prompt * (heads + shared) * dim * size
    tails = rows * (2 * seen * shared + shape.length * heads) * dim * size + shape.groups * shape.length * seen * size
    return states + gates + prompts + tails


def activations(text: Any, shape: Shape, size: int, checkpointing: bool) -> int:
    """Bytes of all layers; with gradient checkpointing the inputs of each and the inside of one."""
    one = layer_activations(text, shape, size)
    if checkpointing:
        return text.num_hidden_layers * shape.tokens * text.hidden_size * size + one
    return text.num_hidden_layers * one


def logits(text: Any, shape: Shape) -> int:
    """Bytes of the logits at their most: in fp32, with their softmax and gradient, a bounded number at a time."""
    kept = min(shape.groups * shape.completions * shape.length * text.vocab_size, LOGITS)
    return 3 * 4 * kept


def kv_cache(text: Any, shape: Shape, size: int) -> int:
    """Bytes of keys and values while ``shape`` is rolled out: a prompt's once, each completion's its own."""
    dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * shape.tokens * text.num_key_value_heads * dim * size


def estimate(
    config: Any, model: ModelSection, section: TrainSection, update: Shape, rollout: Shape | None, *,
    ranks: int = 1, stage: int = 0, reference: bool = False,
) -> Memory:  # fmt: skip
    """Memory of one GPU.

    Args:
        update: one pass of the update. ``rollout``: the prompts that are answered side by side, None for SFT.
        ranks: how many GPUs share. ``stage``: ZeRO's, 0 for DDP; gradients are shared from 2 on, weights from 3.
        reference: a frozen copy of the policy stands beside it, whole on each GPU.
    """
    every, trained = counts(config, model)
    size = 4 if model.dtype == "float32" and not section.bf16 else 2
    stored = 4 if model.dtype == "float32" else 2
    master = 4 * trained if stage and stored == 2 else 0
    text = config.get_text_config()
    mine = every * stored // (ranks if stage == 3 else 1)
    return Memory(
        weights=mine,
        reference=every * stored if reference and model.lora is None else 0,
        gradients=trained * stored // (ranks if stage >= 2 else 1),
        optimizer=(ADAM * trained + master) // (ranks if stage else 1),
        activations=activations(text, update, size, section.gradient_checkpointing),
        logits=logits(text, update),
        kv_cache=kv_cache(text, rollout, size) if rollout else 0,
        gathered=every * stored - mine if rollout else 0,
    )
