"""Log-probabilities of groups against the model's own forward, one sequence at a time, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL.Image import Image

from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import GroupLogps, repeated_logps, shared_prefix_logps
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.tasks.render import Prompt

Form: TypeAlias = Callable[..., GroupLogps]
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


@pytest.fixture(scope="module", params=["tiny", "tiny_qwen2", "tiny_qwen3"])
def lively(request: pytest.FixtureRequest, stir: Callable[[Vlm], Vlm]) -> Vlm:
    return stir(request.getfixturevalue(request.param))


def one_at_a_time(vlm: Vlm, group: RaggedGroup, pictures: Sequence[Image], temperature: float) -> list[torch.Tensor]:
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
    allowed[list(vlm.banned)] = False
    rows = []
    for completion in group.completions:
        tail = torch.tensor([completion])
        row = dict(inputs, input_ids=torch.cat([inputs["input_ids"], tail], 1))
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        row["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(tail)], 1)
        logits = vlm.model(**row).logits[0, -len(completion) - 1 : -1] / temperature
        chosen = logits.gather(1, tail[0][:, None])[:, 0]
        rows.append(chosen - logits[:, allowed].logsumexp(1))
    return rows


def gradient(vlm: Vlm, logps: torch.Tensor) -> torch.Tensor:
    """Of a fixed random combination of the log-probabilities, with regard to every weight."""
    direction = torch.randn(len(logps), generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad(logps @ direction, list(vlm.model.parameters()), materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("form", [shared_prefix_logps, repeated_logps])
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.lists(groups, min_size=1, max_size=3), temperature=st.sampled_from([1.0, 0.7]))
def test_ragged_groups_equal_the_plain_forward(
    lively: Vlm, pictures: Sequence[Image], form: Form, drawn: list[RaggedGroup], temperature: float
) -> None:
    want = torch.cat([row for group in drawn for row in one_at_a_time(lively, group, pictures, temperature)])
    encoder = PromptEncoder(lively)
    prompts = encoder.batch([encoder.encode(group.prompt(pictures)) for group in drawn])
    out = form(lively, prompts, [group.completions for group in drawn], temperature, entropy=True)
    got = out.logps[out.mask.bool()]  # row by row, as the completions stand
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert not out.logps[out.mask == 0].any()
    want_grad = gradient(lively, want)
    assert (gradient(lively, got) - want_grad).norm() <= 1e-4 * want_grad.norm()
