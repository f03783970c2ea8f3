"""Boxes in data are original pixels; what a model writes, is taught and has sifted is in a space of its own."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from reasoner_rm.config import RejectionSamplingSection
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.sampling.rejection_sampling import split_by_pass_rate
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.sft import target_ids

BOX = {"bbox_2d": [40, 20, 160, 60], "label": "star"}
TARGET = f"<think>One star [40].</think>\n<answer>{json.dumps([BOX])}</answer>"
SAMPLE = Sample("s", "detection", "star", images=(Image.new("RGB", (200, 100)),), target=TARGET, gold={"boxes": [BOX]})


def converter(space: str) -> BoxConverter:
    return BoxConverter(space, lambda sample: ((200, 100), (112, 56)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "written"), [("normalized_1000", [200, 200, 800, 600]), ("processed", [22, 11, 90, 34])]
)
def test_a_target_is_written_in_the_models_space_and_stated_in_pixels(space: str, written: list[int]) -> None:
    text = converter(space).text_to_model(TARGET, SAMPLE)
    assert json.loads(text.split("<answer>")[1].removesuffix("</answer>")) == [{"bbox_2d": written, "label": "star"}]
    assert text.startswith("<think>One star [40].</think>")  # nothing but the answer moves
    back = converter(space).text_to_original(text, SAMPLE)
    stated = json.loads(back.split("<answer>")[1].removesuffix("</answer>"))[0]["bbox_2d"]
    assert max(abs(a - b) for a, b in zip(stated, BOX["bbox_2d"], strict=True)) <= 1


def test_what_holds_no_boxes_stays() -> None:
    for text in ("", "<answer>[]</answer>", "no answer [1,2,3,4]", "<answer>[1,2,3]</answer>"):
        assert converter("normalized_1000").text_to_model(text, SAMPLE) == text
    caption = Sample("c", "caption_critic", "a red star", images=SAMPLE.images)
    assert converter("normalized_1000").text_to_model(TARGET, caption) == TARGET


def test_sft_teaches_the_models_own_numbers(tiny_qwen3: Vlm) -> None:
    ids = target_ids(tiny_qwen3, SAMPLE, BoxConverter.of(PromptEncoder(tiny_qwen3)))
    assert "[200,200,800,600]" in tiny_qwen3.tokenizer.decode(ids)


class Writes(RolloutEngine):
    """An engine whose every completion is one text."""

    def __init__(self, text: str):
        self.text = text

    def generate(self, requests, sampling):  # type: ignore[no-untyped-def]
        return [(Completion(self.text, (1,), (0.0,), "stop"),) for _ in requests]


def test_the_sift_judges_and_keeps_original_pixels() -> None:
    written = converter("normalized_1000").text_to_model(TARGET, SAMPLE)
    template, section = load_template("detection", "brief"), RejectionSamplingSection(num_samples=1)
    found = split_by_pass_rate(
        Writes(written), template, [SAMPLE], section, seed=0, box_converter=converter("normalized_1000")
    )  # type: ignore[arg-type]
    assert len(found.sft) == 1 and "[40,20,160,60]" in (found.sft[0].target or "")
    assert not split_by_pass_rate(Writes(written), template, [SAMPLE], section, seed=0).sft  # type: ignore[arg-type]
