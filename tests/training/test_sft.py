"""Supervised fine-tuning says what its numbers would do before it does it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from PIL import Image

from reasoner_rm.config import SftSection
from reasoner_rm.log import warn_once
from reasoner_rm.models.loading import Vlm
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.sft import SFTTrainer


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
    assert (f"each is seen {batch} times" in capsys.readouterr().err) == warned
