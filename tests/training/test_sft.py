"""Supervised fine-tuning says what its numbers would do before it does it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from reasoner_rm.config import SftSection
from reasoner_rm.log import warn_once
from reasoner_rm.models.group_logprobs import group_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template, render
from reasoner_rm.training.sft import SFTTrainer, target_ids

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("batch, warned", [(50, False), (51, True)])
def test_few_rows_seen_many_times_are_warned_of(
    tiny: Vlm, batch: int, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_once.cache_clear()
    picture = Image.new("RGB", (56, 56), (200, 20, 20))
    row = Sample("a", "qa", "Which colour?", (picture,), gold={"answer": "red"}, target="<answer>red</answer>")
    vlm = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))
    settings = SftSection(max_steps=1, batch_size=batch)
    SFTTrainer(vlm, load_template("qa", "brief"), [row], settings, seed=0, log=lambda *_: None).train()
    shown = capsys.readouterr().err
    assert (f"each is seen {batch} times" in shown) == warned
    assert "sft, optimiser" in shown, "the bar names the phase of the step"


def rows() -> list[Sample]:
    """Targets of very different lengths, one of them weighted."""
    texts = ("7", "a much longer answer than the others have, word after word after word", "12", "yes it is")
    return [
        Sample(str(i), "qa", f"q{i}", gold={"answer": "7", "kind": "number"}, target=text, weight=1.0 + (i == 2))
        for i, text in enumerate(texts)
    ]


def trained(tiny: Vlm, samples: list[Sample], batch_size: int, accumulation: int) -> tuple[Vlm, list[dict[str, float]]]:
    vlm, lines = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), []
    section = SftSection(
        batch_size=batch_size, gradient_accumulation_steps=accumulation, max_steps=1, learning_rate=1e-3
    )
    log = lambda step, values: lines.append(values)  # noqa: E731
    SFTTrainer(vlm, load_template("qa", "brief"), samples, section, seed=0, log=log).train()
    return vlm, lines


def test_a_step_is_one_mean_however_it_is_divided(tiny: Vlm) -> None:
    """A short micro-batch does not weigh as much as a long one: the divisor is the tokens of the step, as in TRL."""
    whole, (want,) = trained(tiny, rows(), 4, 1)
    parts, (got,) = trained(tiny, rows(), 1, 4)
    assert got["loss"] == pytest.approx(want["loss"], rel=1e-5)
    assert got["grad_norm"] == pytest.approx(want["grad_norm"], rel=1e-4)
    encoder = PromptEncoder(tiny)
    ids = [target_ids(tiny, sample) for sample in rows()]
    prompts = encoder.batch([encoder.encode(render(s, load_template("qa", "brief"))) for s in rows()])
    out = group_logprobs(tiny, prompts, [[row] for row in ids])
    weights = torch.tensor([s.weight for s in rows()])[:, None] * out.mask
    assert want["loss"] == pytest.approx(float(-(out.logprobs * weights).sum().detach() / weights.sum()), rel=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert float((a - b).norm()) <= 1e-4 * float(a.norm()) + 1e-6


def test_token_accuracy_is_the_share_of_most_probable_tokens(tiny: Vlm, perturbed: Callable[[Vlm], Vlm]) -> None:
    """Of a model whose most probable token seldom has more than half of the probability."""
    vlm = perturbed(tiny)
    encoder, template = PromptEncoder(vlm), load_template("qa", "brief")
    sample = Sample("a", "qa", "q", gold={"answer": "7", "kind": "number"}, target="7")
    prompt = render(sample, template)
    said = TransformersEngine(vlm, encoder).generate([GenerationRequest(prompt, (0,))], SamplingParams(0.0, 12))[0][0]
    ids = [t for t in said.token_ids if t not in vlm.stop_token_ids]
    out = group_logprobs(vlm, encoder.batch([encoder.encode(prompt)]), [[tuple(ids)]], argmax=True)
    assert out.is_argmax is not None and out.is_argmax[0].tolist() == [1.0] * len(ids)
    assert bool((out.logprobs.exp() < 0.5).any()), "the former count, p > 0.5, would differ"
    wrong = group_logprobs(vlm, encoder.batch([encoder.encode(prompt)]), [[tuple(ids[1:])]], argmax=True)
    assert wrong.is_argmax is not None and 0 <= float(wrong.is_argmax.mean()) < 1
