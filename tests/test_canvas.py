"""Boxes in data are original pixels; what a model writes, is taught and has sifted is in a space of its own."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from reasoner_rm.config import SiftSection
from reasoner_rm.policy.canvas import Canvas
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.sft import target_ids
from reasoner_rm.training.sift import sift

BOX = {"bbox_2d": [40, 20, 160, 60], "label": "star"}
TARGET = f"<think>One star [40].</think>\n<answer>{json.dumps([BOX])}</answer>"
SAMPLE = Sample("s", "detection", "star", images=(Image.new("RGB", (200, 100)),), target=TARGET, gold={"boxes": [BOX]})


def canvas(space: str) -> Canvas:
    return Canvas(space, lambda sample: ((200, 100), (112, 56)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("space", "written"), [("thousand", [200, 200, 800, 600]), ("processed", [22, 11, 90, 34])])
def test_a_target_is_written_in_the_models_space_and_stated_in_pixels(space: str, written: list[int]) -> None:
    text = canvas(space).written(TARGET, SAMPLE)
    assert json.loads(text.split("<answer>")[1].removesuffix("</answer>")) == [{"bbox_2d": written, "label": "star"}]
    assert text.startswith("<think>One star [40].</think>")  # nothing but the answer moves
    back = canvas(space).stated(text, SAMPLE)
    stated = json.loads(back.split("<answer>")[1].removesuffix("</answer>"))[0]["bbox_2d"]
    assert max(abs(a - b) for a, b in zip(stated, BOX["bbox_2d"], strict=True)) <= 1


def test_what_holds_no_boxes_stays() -> None:
    for text in ("", "<answer>[]</answer>", "no answer [1,2,3,4]", "<answer>[1,2,3]</answer>"):
        assert canvas("thousand").written(text, SAMPLE) == text
    caption = Sample("c", "caption_critic", "a red star", images=SAMPLE.images)
    assert canvas("thousand").written(TARGET, caption) == TARGET


def test_sft_teaches_the_models_own_numbers(tiny_qwen3: Vlm) -> None:
    ids = target_ids(tiny_qwen3, SAMPLE, Canvas.of(PromptEncoder(tiny_qwen3)))
    assert "[200,200,800,600]" in tiny_qwen3.tokenizer.decode(ids)


class Writes:
    """An engine whose every completion is one text."""

    def __init__(self, text: str):
        self.text = text

    def generate(self, requests, sampling):  # type: ignore[no-untyped-def]
        return [(Completion(self.text, (1,), (0.0,), "stop"),) for _ in requests]


def test_the_sift_judges_and_keeps_original_pixels() -> None:
    written = canvas("thousand").written(TARGET, SAMPLE)
    template, section = load_template("detection", "brief"), SiftSection(samples=1)
    found = sift(Writes(written), template, [SAMPLE], section, seed=0, canvas=canvas("thousand"))  # type: ignore[arg-type]
    assert len(found.sft) == 1 and "[40,20,160,60]" in (found.sft[0].target or "")
    assert not sift(Writes(written), template, [SAMPLE], section, seed=0).sft  # type: ignore[arg-type]
