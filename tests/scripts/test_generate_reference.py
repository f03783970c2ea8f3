"""The generated references are current, and know every metric that a training logs."""

from __future__ import annotations

import copy
import dataclasses

import generate_reference
import pytest
from PIL import Image
from thinking_engine import ThinkingEngine

from reasoner_rm.config import Config, GrpoSection, SftSection
from reasoner_rm.listener import frozen_listener
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.metric_names import METRICS
from reasoner_rm.training.sft import SFTTrainer

TARGET = "<think>Image 1 shows it.</think><answer>Image 1 is better</answer>"


@pytest.mark.parametrize("name", generate_reference.PAGES)
def test_the_page_is_current(name: str) -> None:
    assert (generate_reference.DOCS / name).read_text(encoding="utf-8") == generate_reference.PAGES[name]()


def test_every_key_is_described() -> None:
    page = generate_reference.configuration()
    assert page.count("\n## ") > 10 and "| `rewards` |" in page and "| `early_stopping_patience` |" in page
    assert all(f"## `{name}`" in page for name in Config.model_fields if name not in ("task", "template"))


def test_every_logged_metric_is_in_the_table(tiny: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    vlm = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))
    template, encoder, logged = load_template("image_preference", "brief"), PromptEncoder(vlm), set[str]()
    samples = [
        Sample(str(i), "image_preference", f"picture {i}", pictures[i % 2 : i % 2 + 2], gold={"p_first": 1.0},
               target=TARGET)
        for i in range(4)
    ]  # fmt: skip
    log = lambda step, values: logged.update(values)  # noqa: E731
    sft = SftSection(batch_size=2, max_steps=1, eval_steps=1)
    SFTTrainer(vlm, template, samples, sft, seed=0, log=log, eval_fn=lambda: {"accuracy": 0.5}).train()
    grpo = GrpoSection(
        rewards="listener", prompts_per_device=2, gradient_accumulation_steps=1, num_generations=2, max_steps=1,
        max_completion_length=4, filter_epsilon=0.1, max_resample_ratio=1.0,
    )  # fmt: skip
    GRPOTrainer(
        vlm, template, samples, grpo, engine=ThinkingEngine(vlm, encoder), encoder=encoder, seed=0, log=log,
        listener=frozen_listener(dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), template, min_mass=0.0),
    ).train()  # fmt: skip
    unknown = {name for name in logged if not any(metric.matches(name) for metric in METRICS)}
    assert not unknown
    seldom = ("vi", "eval", "listener/accuracy")  # other tasks; what depends on what was sampled
    missing = [m.name for m in METRICS if not any(map(m.matches, logged)) and not m.name.startswith(seldom)]
    assert not missing
