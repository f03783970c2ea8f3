"""Log-probabilities of groups against the model's own forward, one sequence at a time, and what follows from them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL.Image import Image

from reasoner_rm.models import token_logprobs
from reasoner_rm.models.group_logprobs import GroupLogprobs, repeated_logprobs, shared_prefix_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.tasks.render import Prompt

pytestmark = pytest.mark.engine

Form: TypeAlias = Callable[..., GroupLogprobs]
TEXTS = ("Which image is better?", "Caption: a red square", "ß 漢 <think>", "Image 1 is better, " * 7)


@dataclass(frozen=True)
class RaggedGroup:
    """One prompt, as indices into the pictures and the texts, with its completions."""

    images: tuple[int, ...]
    text: int
    completions: tuple[tuple[int, ...], ...]

    def prompt(self, pictures: Sequence[Image]) -> Prompt:
        shown = tuple(pictures[i] for i in self.images)
        return Prompt((*shown, TEXTS[self.text]), (True,) * len(shown) + (False,))


tokens = st.integers(0, 342)  # ordinary tokens of the tiny vocabulary; the special ones come after them
groups = st.builds(
    RaggedGroup,
    images=st.lists(st.integers(0, 2), max_size=2).map(tuple),
    text=st.integers(0, len(TEXTS) - 1),
    completions=st.lists(st.lists(tokens, min_size=1, max_size=6).map(tuple), min_size=1, max_size=3).map(tuple),
)


@pytest.fixture(scope="module", params=["tiny", "tiny_qwen2", "tiny_qwen3", "tiny_qwen3_5"])
def lively(request: pytest.FixtureRequest, perturbed: Callable[[Vlm], Vlm]) -> Vlm:
    return perturbed(request.getfixturevalue(request.param))


def one_at_a_time(
    vlm: Vlm,
    group: RaggedGroup,
    pictures: Sequence[Image],
    temperature: float,
    entropies: list[torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """The textbook: the processor's own output, the completion appended, logits of the whole model."""
    content = [{"type": "image", "image": pictures[i]} for i in group.images]
    content.append({"type": "text", "text": TEXTS[group.text]})
    inputs = vlm.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    allowed = torch.ones(vlm.model.config.get_text_config().vocab_size, dtype=torch.bool)
    allowed[list(vlm.banned_token_ids)] = False
    rows = []
    for completion in group.completions:
        tail = torch.tensor([completion])
        row = dict(inputs, input_ids=torch.cat([inputs["input_ids"], tail], 1))
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        row["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(tail)], 1)
        logits = vlm.model(**row).logits[0, -len(completion) - 1 : -1] / temperature
        chosen = logits.gather(1, tail[0][:, None])[:, 0]
        rows.append(chosen - logits[:, allowed].logsumexp(1))
        if entropies is not None:
            entropies.append(torch.distributions.Categorical(logits=logits[:, allowed]).entropy().detach())
    return rows


def gradient(vlm: Vlm, logprobs: torch.Tensor) -> torch.Tensor:
    """Of a fixed random combination of the log-probabilities, with regard to every weight."""
    direction = torch.randn(len(logprobs), generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad(logprobs @ direction, list(vlm.model.parameters()), materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("form", [shared_prefix_logprobs, repeated_logprobs])
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.lists(groups, min_size=1, max_size=3), temperature=st.sampled_from([1.0, 0.7]))
def test_ragged_groups_equal_the_plain_forward(
    lively: Vlm, pictures: Sequence[Image], form: Form, drawn: list[RaggedGroup], temperature: float
) -> None:
    spread: list[torch.Tensor] = []
    want = torch.cat([row for group in drawn for row in one_at_a_time(lively, group, pictures, temperature, spread)])
    encoder = PromptEncoder(lively)
    prompts = encoder.batch([encoder.encode(group.prompt(pictures)) for group in drawn])
    out = form(lively, prompts, [group.completions for group in drawn], temperature, entropy=True)
    got = out.logprobs[out.mask.bool()]  # row by row, as the completions stand
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert not out.logprobs[out.mask == 0].any()
    assert out.entropy is not None
    torch.testing.assert_close(out.entropy[out.mask.bool()], torch.cat(spread), rtol=1e-4, atol=1e-4)
    want_grad = gradient(lively, want)
    assert (gradient(lively, got) - want_grad).norm() <= 1e-4 * want_grad.norm()


@pytest.fixture(scope="module")
def ragged(pictures: Sequence[Image]) -> tuple[RaggedGroup, ...]:
    first = RaggedGroup((0, 1), 1, ((1, 2, 3, 4), (5,), (6, 7)))
    return (first, RaggedGroup((), 0, ((8, 9),)), RaggedGroup((1,), 3, ((10, 11, 12),)))


def test_eager_attention_says_the_same(lively: Vlm, pictures: Sequence[Image], ragged: tuple[RaggedGroup, ...]) -> None:
    eager = copy.deepcopy(lively.model)
    eager.set_attn_implementation("eager")
    plain = dataclasses.replace(lively, model=eager)
    want = torch.cat([row for group in ragged for row in one_at_a_time(plain, group, pictures, 1.0)])
    encoder = PromptEncoder(lively)
    out = shared_prefix_logprobs(
        lively, encoder.batch([encoder.encode(g.prompt(pictures)) for g in ragged]), [g.completions for g in ragged]
    )
    torch.testing.assert_close(out.logprobs[out.mask.bool()], want, rtol=1e-5, atol=1e-5)


def test_bf16_is_as_close_as_bf16_is(lively: Vlm, pictures: Sequence[Image], ragged: tuple[RaggedGroup, ...]) -> None:
    """Packed and repeated in bf16 are no further from each other than either is from fp32."""
    half = dataclasses.replace(lively, model=copy.deepcopy(lively.model).bfloat16())
    encoder = PromptEncoder(lively)
    prompts = encoder.batch([encoder.encode(g.prompt(pictures)) for g in ragged])
    completions = [g.completions for g in ragged]
    exact = shared_prefix_logprobs(lively, prompts, completions).logprobs
    packed, repeated = (
        form(half, prompts, completions).logprobs for form in (shared_prefix_logprobs, repeated_logprobs)
    )
    assert packed.dtype == torch.float32  # log-probabilities are
    error = max((packed - exact).abs().max(), (repeated - exact).abs().max())
    assert 0 < (packed - repeated).abs().max() <= 2 * error


def test_the_head_in_parts_is_the_head(
    lively: Vlm, pictures: Sequence[Image], ragged: tuple[RaggedGroup, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = PromptEncoder(lively)
    prompts = encoder.batch([encoder.encode(g.prompt(pictures)) for g in ragged])
    completions = [g.completions for g in ragged]
    whole = shared_prefix_logprobs(lively, prompts, completions, 0.7, entropy=True)
    monkeypatch.setattr(token_logprobs, "MAX_LOGITS", 3 * lively.model.lm_head.out_features)
    widest: list[int] = []
    calls: list[object] = []
    read = token_logprobs.processed_logits
    noted = lambda head, states, *others: widest.append(len(states)) or read(head, states, *others)  # noqa: E731
    monkeypatch.setattr(token_logprobs, "processed_logits", noted)
    head = lively.model.lm_head.register_forward_hook(lambda *call: calls.append(call))
    parts = shared_prefix_logprobs(lively, prompts, completions, 0.7, entropy=True)
    mask = whole.mask.bool()
    grads = [gradient(lively, out.logprobs[mask]) for out in (whole, parts)]
    head.remove()
    assert max(widest) == 3 and len(calls) == 1  # a sharded head is brought together once
    torch.testing.assert_close(parts.logprobs, whole.logprobs)
    assert whole.entropy is not None and parts.entropy is not None
    torch.testing.assert_close(parts.entropy, whole.entropy)
    assert (grads[1] - grads[0]).norm() <= 1e-5 * grads[0].norm()
