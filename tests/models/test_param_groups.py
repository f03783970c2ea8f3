"""Parts of a model by name: what stays, and what learns at its own rate."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from PIL import Image

from reasoner_rm.config import ModelPart, SftSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.param_groups import freeze, part_of
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.sft import SFTTrainer

pytestmark = pytest.mark.engine

PARTS: tuple[ModelPart, ...] = ("vision", "merger", "language_model")


def trained(start: Vlm, frozen: tuple[ModelPart, ...] = (), **settings: Any) -> dict[ModelPart, float]:
    """How far each part went in two steps."""
    vlm = dataclasses.replace(start, model=copy.deepcopy(start.model))
    freeze(vlm.model, frozen)
    picture = Image.new("RGB", (56, 56), (200, 20, 20))
    target = "<think>a square</think><answer>Image 1 is better</answer>"
    samples = [Sample("a", "image_preference", "a square", (picture, picture), gold={"p_first": 1.0}, target=target)]
    section = SftSection(max_steps=2, batch_size=1, lr_scheduler_type="constant", warmup_ratio=0.0, **settings)
    template = load_template("image_preference", "brief")
    SFTTrainer(vlm, template, samples, section, seed=0, log=lambda *_: None).train()
    before = dict(start.model.named_parameters())
    went = dict.fromkeys(PARTS, 0.0)
    for name, weight in vlm.model.named_parameters():
        went[part_of(name)] = max(went[part_of(name)], float((weight - before[name]).abs().max().detach()))
    return went


@pytest.mark.parametrize("family", ["tiny", "tiny_qwen3"])
def test_a_frozen_part_stays_and_the_others_learn(family: str, request: pytest.FixtureRequest) -> None:
    start = request.getfixturevalue(family)
    for part in PARTS:
        went = trained(start, (part,), learning_rate=1e-3)
        assert went[part] == 0.0 and all(went[other] > 0 for other in PARTS if other != part)


def test_a_part_learns_at_its_own_rate(tiny: Vlm) -> None:
    """Adam's first steps are as long as its rate."""
    went = trained(tiny, learning_rate=1e-3, learning_rates={"vision": 1e-5, "merger": 1e-4})
    assert went["language_model"] == pytest.approx(2e-3, rel=0.1)
    assert went["vision"] == pytest.approx(2e-5, rel=0.1) and went["merger"] == pytest.approx(2e-4, rel=0.1)


def test_what_makes_no_sense_is_refused(tiny: Vlm) -> None:
    with pytest.raises(InputError, match="names every part"):
        freeze(copy.deepcopy(tiny.model), PARTS)
    with pytest.raises(InputError, match=r"learning_rates\.vision: nothing of it is trained"):
        trained(tiny, ("vision",), learning_rate=1e-3, learning_rates={"vision": 1e-5})


def test_flash_attention_is_refused_where_it_is_not_installed(tiny: Vlm) -> None:
    if torch.cuda.is_available():
        pytest.skip("it may be there")
    with pytest.raises(InputError, match="flash-attn is not installed"):
        load_vlm(tiny.source, device="cpu", attn_implementation="flash_attention_2")
