"""The estimate of memory against what autograd really keeps of a tiny model."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoConfig

from reasoner_rm.config import GrpoSection, LoraSection, ModelSection
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import group_logps
from reasoner_rm.policy.lora import add_lora
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.estimate import Shape, counts, estimate, layer_activations


def kept(vlm: Vlm, layers: int, words: int, completions: int, length: int) -> tuple[int, int]:
    """Bytes that autograd keeps of a group's forward pass beside the weights, and the prompt's length."""
    model = copy.deepcopy(vlm.model)
    model.model.visual.requires_grad_(False)
    model.model.language_model.layers = model.model.language_model.layers[:layers]
    vlm = dataclasses.replace(vlm, model=model)
    encoder = PromptEncoder(vlm)
    prompt = encoder.encode(Prompt((Image.new("RGB", (56, 56)), "what is it " * words), (True, False)))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, Any]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ids = [list(range(20, 20 + length))] * completions
        group_logps(vlm, encoder.batch([prompt]), [ids])
    return sum(size for size, _ in seen.values()), len(prompt.input_ids)


@pytest.mark.parametrize(("words", "completions", "length"), [(10, 4, 40), (2, 8, 20), (60, 2, 10)])
def test_activations_within_a_fifth_of_what_is_kept(tiny: Vlm, words: int, completions: int, length: int) -> None:
    (three, prompt), (two, _) = (kept(tiny, layers, words, completions, length) for layers in (3, 2))
    text = tiny.model.config.get_text_config()
    found = layer_activations(text, Shape(1, prompt, completions, length), 4)
    assert found == pytest.approx(three - two, rel=0.2)


def test_weights_are_counted_as_they_are_trained(tiny: Vlm) -> None:
    config = AutoConfig.from_pretrained(tiny.source)
    every = sum(p.numel() for p in tiny.model.parameters())
    tower = sum(p.numel() for p in tiny.model.model.visual.parameters())
    assert counts(config, ModelSection(dtype="float32")) == (every, every, 4 * every)
    assert counts(config, ModelSection(freeze=("vision", "merger"))) == (every, every - tower, 2 * every)
    lora = LoraSection(r=4)
    with_layers = add_lora(dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), lora)
    trained = sum(p.numel() for p in with_layers.model.parameters() if p.requires_grad)
    assert counts(config, ModelSection(lora=lora)) == (every, trained, 2 * every)


def test_sharding_shares_out_what_it_shards(tiny: Vlm) -> None:
    config, model = AutoConfig.from_pretrained(tiny.source), ModelSection(dtype="bfloat16")
    shape = Shape(1, 100, 8, 50)
    alone, two, three = (
        estimate(config, model, GrpoSection(bf16=True), shape, shape, ranks=4, stage=stage) for stage in (0, 2, 3)
    )
    assert two.gradients == alone.gradients // 4 and two.weights == alone.weights == three.weights * 4
    assert alone.activations == three.activations > alone.logits > 0
