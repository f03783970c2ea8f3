"""LoRA: what is trained, what stays, and what the base is still good for."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_layers import with_trained_lora
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from reasoner_rm.config import LoraSection
from reasoner_rm.listener import frozen_listener
from reasoner_rm.models.group_logprobs import group_logprobs, repeated_logprobs
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.lora import disable_adapter, lora_merged, merge_lora
from reasoner_rm.models.prompt_encoder import PromptBatch, PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Prompt, load_template

pytestmark = pytest.mark.engine

COMPLETIONS = [[(5, 6, 7), (8, 9)], [(1,), (2, 3, 4, 5)]]
TEMPLATE = load_template("image_preference", "brief")


def own(vlm: Vlm) -> Vlm:
    return dataclasses.replace(vlm, model=copy.deepcopy(vlm.model))


@pytest.fixture
def base(tiny: Vlm, perturbed: Callable[[Vlm], Vlm]) -> Vlm:
    return perturbed(tiny)


@pytest.fixture
def policy(base: Vlm) -> Vlm:
    return with_trained_lora(own(base), LoraSection(r=4, alpha=8))


@pytest.fixture
def prompts(base: Vlm, pictures: Sequence[Image.Image]) -> PromptBatch:
    return encoded(base, pictures)


def encoded(vlm: Vlm, pictures: Sequence[Image.Image]) -> PromptBatch:
    encoder = PromptEncoder(vlm)
    both = Prompt((pictures[0], pictures[1], "which?"), (True, True, False))
    return encoder.batch([encoder.encode(both), encoder.encode(Prompt(("none",), (False,)))])


def test_only_the_language_models_lora_weights_are_trained(policy: Vlm) -> None:
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name and "language_model" in name for name in trained)


@pytest.mark.parametrize("family", ["tiny", "tiny_qwen3_5"])
def test_the_packed_form_has_the_repeated_forms_gradients(
    family: str,
    request: pytest.FixtureRequest,
    perturbed: Callable[[Vlm], Vlm],
    pictures: Sequence[Image.Image],
) -> None:
    """Also of the projections of linear layers."""
    section = LoraSection(r=4, alpha=8, targets=(*LoraSection().targets, "in_proj_qkv", "in_proj_b", "out_proj"))
    policy = with_trained_lora(perturbed(request.getfixturevalue(family)), section)
    prompts = encoded(policy, pictures)
    weights = [p for p in policy.model.parameters() if p.requires_grad]
    results = []
    for form in (group_logprobs, repeated_logprobs):
        out = form(policy, prompts, COMPLETIONS)
        results.append((out.logprobs, torch.autograd.grad((out.logprobs**2).sum(), weights)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(results[0][1], results[1][1], strict=True):
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-7


def test_off_it_is_its_base_and_merged_it_is_itself(
    base: Vlm, policy: Vlm, prompts: PromptBatch, tmp_path: Path
) -> None:
    before, itself = (group_logprobs(v, prompts, COMPLETIONS).logprobs.detach() for v in (base, policy))
    with disable_adapter(policy):
        torch.testing.assert_close(group_logprobs(policy, prompts, COMPLETIONS).logprobs, before)
    assert (itself - before).abs().max() > 0.01
    plain = merge_lora(policy)
    plain.model.save_pretrained(tmp_path)
    plain.processor.save_pretrained(tmp_path)
    again = load_vlm(tmp_path, device="cpu")
    torch.testing.assert_close(group_logprobs(again, prompts, COMPLETIONS).logprobs, itself, rtol=1e-4, atol=1e-4)


class Products(TorchDispatchMode):
    """Counts the matrix products inside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func._overloadpacket.__name__ in ("mm", "addmm", "bmm", "linear")
        return func(*args, **(kwargs or {}))


def test_a_rollout_makes_no_products_with_lora_and_leaves_every_bit(base: Vlm, policy: Vlm) -> None:
    requests = [GenerationRequest(Prompt(("what is it",), (False,)), (1, 2))]
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    counted, texts = [], []
    for vlm in (base, policy):
        for length in (4, 14):
            with Products() as products:
                texts.append(TransformersEngine(vlm).generate(requests, SamplingParams(1.0, length))[0])
            counted.append(products.count)
    assert counted[3] - counted[2] == counted[1] - counted[0] > 0, "ten more tokens cost what they cost the base"
    assert texts[1] != texts[3], "and it is the policy that speaks"
    trainers = group_logprobs(policy, PromptEncoder(policy).batch([PromptEncoder(policy).encode(requests[0].prompt)]),
                              [[completion.token_ids for completion in texts[3]]])  # fmt: skip
    for completion, row in zip(texts[3], trainers.logprobs.tolist(), strict=True):
        assert completion.logprobs == pytest.approx(row[: len(completion.token_ids)], abs=1e-4)
    assert all(torch.equal(before[name], weight) for name, weight in policy.model.named_parameters())


def test_an_error_in_a_rollout_leaves_the_adapter_as_it_was(policy: Vlm, prompts: PromptBatch) -> None:
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    itself = group_logprobs(policy, prompts, COMPLETIONS).logprobs
    with pytest.raises(FloatingPointError), lora_merged(policy):
        assert any(not torch.equal(before[name], weight) for name, weight in policy.model.named_parameters())
        raise FloatingPointError
    assert all(torch.equal(before[name], weight) for name, weight in policy.model.named_parameters())
    assert torch.equal(group_logprobs(policy, prompts, COMPLETIONS).logprobs, itself)


def test_it_lends_its_base_to_be_the_listener(base: Vlm, policy: Vlm, pictures: Sequence[Image.Image]) -> None:
    sample = Sample("a", "image_preference", "a red square", (pictures[0], pictures[1]), gold={"p_first": 1.0})
    texts = [["<think>the first is red</think>", "<think>neither</think>"]]
    lent, alone = (frozen_listener(v, TEMPLATE, min_mass=0.0) for v in (policy, own(base)))
    for mine, theirs in zip(lent.beliefs([sample], texts)[0], alone.beliefs([sample], texts)[0], strict=True):
        assert mine is not None and theirs is not None
        assert mine.probs == pytest.approx(theirs.probs, abs=1e-6)
    assert any(p.requires_grad for p in policy.model.parameters())
