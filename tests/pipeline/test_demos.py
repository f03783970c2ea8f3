"""The courses of the small worlds: every recipe loads and fits its data, before anybody waits for a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reasoner_rm import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.pipeline.demos import WORLDS, DatasetSizes, DemoTask
from reasoner_rm.pipeline.pocket import demo_config, get_demo
from reasoner_rm.rewards import parse_spec
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template, render

COURSES = [(world, task) for world, courses in WORLDS.items() for task in courses]
SMALL = DatasetSizes(cold_start=6, train=6, heldout=6, ood=6)


@pytest.fixture(params=COURSES, ids="-".join)
def demo(request: pytest.FixtureRequest) -> DemoTask:
    return get_demo(*request.param)


def test_a_recipe_fits_its_data(demo: DemoTask, tmp_path: Path) -> None:
    config = demo_config(demo, tmp_path, seed=1)
    demo.build(tmp_path / "data", SMALL, seed=1)
    template = load_template(config.task, config.template)
    seen: dict[str, set[str]] = {}
    for name in ("cold_start", "train", "heldout", "ood"):
        samples = load_samples(getattr(config.data, name))
        assert len(samples) == 6 and {s.task for s in samples} == {config.task}
        assert render(samples[0], template).images
        seen[name] = {s.group_id for s in samples}
        if name == "cold_start":
            parsed = [get_task(s.task).parse(s.target or "", s) for s in samples]
            assert all(p.well_formed for p in parsed)
    assert not (seen["cold_start"] | seen["train"]) & (seen["heldout"] | seen["ood"])


def test_a_recipe_pays_right_answers_and_asks_a_listener_that_it_has(demo: DemoTask, tmp_path: Path) -> None:
    config = demo_config(demo, tmp_path, seed=1)
    terms = parse_spec(config.grpo.rewards)
    assert any(term.reward.name != "format" for term in terms.values())
    assert any(term.reward.needs_listener for term in terms.values()) == (config.listener.path is not None)


def test_the_short_form_is_shorter(demo: DemoTask, tmp_path: Path) -> None:
    long, short = demo_config(demo, tmp_path, 0), demo_config(demo, tmp_path, 0, demo.quick_overrides)
    assert short.grpo.max_steps < long.grpo.max_steps / 5 and demo.quick_sizes.train < demo.sizes.train


def test_the_same_seed_makes_the_same_bytes(demo: DemoTask, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        demo.build(tmp_path / folder, dataclasses.replace(SMALL, train=2), seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files
    for file in files:
        one, two = ((tmp_path / folder / file).read_bytes() for folder in ("a", "b"))
        assert one.replace(str(tmp_path / "a").encode(), b"") == two.replace(str(tmp_path / "b").encode(), b"")


@pytest.mark.parametrize(("world", "task", "hint"), [("shape", "qa", "shapes"), ("digits", "prefrence", "preference")])
def test_what_there_is_not(world: str, task: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"did you mean '{hint}'"):
        get_demo(world, task)
