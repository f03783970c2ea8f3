"""The estimate of memory against what autograd really keeps of a tiny model."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peak_memory import peak_bytes
from PIL import Image
from transformers import AutoConfig

from reasoner_rm.config import GrpoSection, LoraSection, ModelSection
from reasoner_rm.errors import InputError
from reasoner_rm.models import token_logprobs
from reasoner_rm.models.group_logprobs import group_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.weight_export import lora_layers
from reasoner_rm.rollout.base import OptionQuery, option_token_ids
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.memory_estimate import (
    BatchShape,
    ListenerMemory,
    VllmMemory,
    block_activations,
    counts,
    estimate,
    forward_activations,
    layer_activations,
    logits,
)
from reasoner_rm.training.zero_memory import Sharding, read_sharding


def kept(vlm: Vlm, layers: int, words: int, completions: int, length: int) -> tuple[int, int]:
    """Bytes that autograd keeps of a group's forward pass beside the weights, and the prompt's length."""
    model = copy.deepcopy(vlm.model)
    model.model.visual.requires_grad_(False)
    model.model.language_model.layers = model.model.language_model.layers[:layers]
    vlm = dataclasses.replace(vlm, model=model)
    encoder = PromptEncoder(vlm)
    prompt = encoder.encode(Prompt((Image.new("RGB", (56, 56)), "what is it " * words), (True, False)))
    ids = [list(range(20, 20 + length))] * completions
    return saved(model, lambda: group_logprobs(vlm, encoder.batch([prompt]), [ids])), len(prompt.input_ids)


def saved(model: torch.nn.Module, work: Callable[[], Any]) -> int:
    """Bytes that autograd keeps of some work beside the model's weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, Any]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize(("words", "completions", "length"), [(10, 4, 40), (2, 8, 20), (60, 2, 10)])
def test_activations_within_a_fifth_of_what_is_kept(tiny: Vlm, words: int, completions: int, length: int) -> None:
    (three, prompt), (two, _) = (kept(tiny, layers, words, completions, length) for layers in (3, 2))
    text = tiny.model.config.get_text_config()
    found = layer_activations(text, BatchShape(1, prompt, completions, length), 4)
    assert found == pytest.approx(three - two, rel=0.2)


@pytest.mark.parametrize("family", ["tiny_qwen2", "tiny", "tiny_qwen3"])
@pytest.mark.parametrize("side", [112, 224])
def test_a_trained_towers_activations_too(family: str, side: int, request: pytest.FixtureRequest) -> None:
    vlm: Vlm = request.getfixturevalue(family)
    tower = copy.deepcopy(vlm.model.model.visual).requires_grad_(True).train()
    edge = side // tower.patch_embed.proj.kernel_size[-1] // 2 * 2
    grid = torch.tensor([[1, edge, edge]] * 2)
    pixels = torch.randn(2 * edge**2, tower.patch_embed.proj.weight[0].numel())
    held = []
    for depth in (3, 2):
        tower.blocks = tower.blocks[:depth]
        held.append(saved(tower, lambda: tower(pixels, grid_thw=grid)))
    assert block_activations(vlm.model.config, len(pixels), 4) == pytest.approx(held[0] - held[1], rel=0.2)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("at_once", [2**25, 2**17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_within_a_fifth_of_the_peak(
    trained: bool, dtype: torch.dtype, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_logprobs, "MAX_LOGITS", at_once)
    monkeypatch.setattr(token_logprobs, "WEIGHT_BLOCK", 2**12)
    text, shape = SimpleNamespace(vocab_size=4096, hidden_size=64), BatchShape(2, 10, 4, 32)
    hidden = torch.randn(256, 64, dtype=dtype, requires_grad=True)
    weight = torch.randn(4096, 64, dtype=dtype, requires_grad=trained)
    ids = torch.randint(0, 4096, (256,))
    peak = peak_bytes(
        lambda: (
            token_logprobs.chunked_token_logprobs(hidden, weight, ids, (1, 2), 1.0, entropy=True)
            .logprobs.sum()
            .backward()
        )
    )
    assert logits(text, shape, dtype.itemsize, 4 * weight.numel() * trained, at_once) == pytest.approx(peak, rel=0.2)


def test_weights_are_counted_as_they_are_trained(tiny: Vlm) -> None:
    config = AutoConfig.from_pretrained(tiny.source)
    every = sum(p.numel() for p in tiny.model.parameters())
    tower = sum(p.numel() for p in tiny.model.model.visual.parameters())
    assert counts(config, ModelSection(dtype="float32")) == (every, every, 4 * every, 0)
    assert counts(config, ModelSection(freeze=("vision", "merger"))) == (every, every - tower, 2 * every, 0)
    lora = LoraSection(r=4)
    with_layers = add_lora(dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), lora)
    trained = sum(p.numel() for p in with_layers.model.parameters() if p.requires_grad)
    adapted = sum(layer.base_layer.weight.numel() for layer in lora_layers(with_layers))
    assert counts(config, ModelSection(lora=lora)) == (every, trained, 2 * every, 2 * adapted)


def test_sharding_shares_out_what_it_shards(tiny: Vlm) -> None:
    config, model = AutoConfig.from_pretrained(tiny.source), ModelSection(dtype="bfloat16")
    shape = BatchShape(1, 100, 8, 50)
    alone, two, three = (
        estimate(config, model, GrpoSection(bf16=True), shape, shape, sharding=Sharding(4, stage))
        for stage in (0, 2, 3)
    )
    assert two.gradients == alone.gradients // 4 and two.weights == alone.weights == three.weights * 4
    assert alone.activations == three.activations > alone.logits > 0
    assert alone.buffers == alone.fp32_gradients == 0 and two.buffers == 2 * 500_000_000
    assert two.fp32_gradients == three.fp32_gradients == 2 * alone.gradients // 4, "fp32, of the part that is stepped"
    accumulated = Sharding(4, 2, fp32_gradients=True, overlap=True)
    wide = estimate(config, model, GrpoSection(bf16=True), shape, shape, sharding=accumulated)
    assert wide.gradients == 2 * two.gradients and wide.buffers == 2 * two.buffers


def test_a_deepspeed_configuration_says_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    zero = {"stage": 3, "reduce_bucket_size": 2e8, "stage3_max_live_parameters": "auto", "sub_group_size": 1e8,
            "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "none"}}  # fmt: skip
    file.write_text(json.dumps({"zero_optimization": zero, "data_types": {"grad_accum_dtype": "fp32"}}))
    found = read_sharding(file, 8)
    assert found == Sharding(8, 3, 200_000_000, False, 10**9, 10**8, True, offloads_optimizer=True)
    assert found.buffers(3 * 10**8) == 2 * 5 * 10**8, "the bucket, and all weights, which are fewer than may be live"
    file.write_text('{"zero_optimization": {"stage": "auto"}}')
    with pytest.raises(InputError, match=r"zero\.json: cannot read the ZeRO stage"):
        read_sharding(file, 8)


def test_the_total_is_the_greatest_of_rollout_update_and_step(tiny: Vlm) -> None:
    """vLLM's share and the listener's activations belong to the rollout, in sleep mode; without, vLLM stays."""
    config, model, section = AutoConfig.from_pretrained(tiny.source), ModelSection(dtype="bfloat16"), GrpoSection()
    shape, share = BatchShape(2, 100, 8, 50), 10**9
    plain = estimate(config, model, section, shape, shape)
    assert plain.kv_cache > 0 and plain.prefill > 0 and plain.engine == plain.listening == 0
    asleep, awake = (
        estimate(config, model, section, shape, shape, vllm=VllmMemory(share, sleeps)) for sleeps in (True, False)
    )
    update = plain.activations + plain.vision + plain.logits
    assert asleep.kv_cache == asleep.prefill == 0 and awake.total - asleep.total == update
    heard = estimate(
        config, model, section, shape, shape, vllm=VllmMemory(share), listener=ListenerMemory(7, config, 4)
    )
    assert heard.total - asleep.total == 7 + heard.listening and heard.listening > 0


@pytest.mark.parametrize("family", ["tiny", "tiny_qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_of_the_listener_within_a_fifth_of_its_peak(
    family: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    vlm: Vlm = request.getfixturevalue(family)
    vlm = dataclasses.replace(vlm, model=copy.deepcopy(vlm.model).to(dtype))
    engine = TransformersEngine(vlm)
    prompt = Prompt((Image.new("RGB", (56, 56)), "what is it " * 200), (True, False))
    query = OptionQuery(prompt, ("a red square " * 100,) * 8, ("1", "2"))
    known = option_token_ids(query.prefixes[0], query.options, vlm.tokenizer)
    assert known is not None
    shape = BatchShape(1, len(engine.encoder.encode(prompt).input_ids), 8, len(known[0]))
    peak = peak_bytes(lambda: engine.option_logprobs([query]))
    assert forward_activations(vlm.model.config, shape, dtype.itemsize) == pytest.approx(peak, rel=0.2)
    half = forward_activations(vlm.model.config, dataclasses.replace(shape, groups=4), dtype.itemsize, 2 * shape.tokens)
    assert half == 2 * forward_activations(vlm.model.config, shape, dtype.itemsize), "as many as the budget holds"
