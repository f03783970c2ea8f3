"""Groups that teach nothing are replaced: which prompts take their places, how many, and after a kill the same ones."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reasoner_rm import rewards
from reasoner_rm.config import AlarmSection, GrpoSection, LoraSection
from reasoner_rm.errors import InputError, RunInterrupted
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Group, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.checkpoints import Checkpoints, read_manifest, write_manifest
from reasoner_rm.training.dynamic_sampling import DynamicSampler
from reasoner_rm.training.grpo import GRPOTrainer

TEMPLATE = load_template("image_preference", "brief")


def numbered(count: int) -> list[Sample]:
    return [Sample(str(i), "image_preference", f"picture {i}", ()) for i in range(count)]


def teaches(sample: Sample) -> bool:
    return int(sample.id) % 3 == 0


def test_what_teaches_nothing_is_replaced_by_what_does() -> None:
    samples = numbered(30)
    cursor = DynamicSampler(samples, 1, 100, seed=3)
    window = samples[:8]  # 0, 3 and 6 teach
    filled, shares = cursor.fill(window, [s.id for s in window], lambda asked: asked, teaches)
    assert all(map(teaches, filled)) and len({s.id for s in filled}) == 8
    assert [filled[i] for i in (0, 3, 6)] == [window[i] for i in (0, 3, 6)]
    assert shares["uninformative"] == shares["replaced"] == 5 / 8 and 5 / 8 < shares["resampled"] <= 22 / 8


def test_the_cap_holds_and_the_data_may_run_out() -> None:
    samples, asked = numbered(30), []

    def answer(more: list[Sample]) -> list[Sample]:
        asked.extend(more)
        return more

    window = samples[:8]
    never = DynamicSampler(samples, 1, 6, seed=3)
    filled, shares = never.fill(window, [s.id for s in window], answer, lambda sample: False)
    assert (
        filled == window and len(asked) == 6 and shares == {"uninformative": 1.0, "replaced": 0.0, "resampled": 6 / 8}
    )
    asked.clear()
    endless = DynamicSampler(samples, 1, 10**6, seed=3)
    endless.fill(window, [s.id for s in window], answer, lambda sample: False)
    assert sorted(int(s.id) for s in asked) == list(range(8, 30))


def test_neighbours_are_replaced_together() -> None:
    samples = numbered(24)
    window = samples[:4]  # 0 teaches, so 0 and 1 stay; neither 2 nor 3 would, were 3 not divisible by three
    filled, _ = DynamicSampler(samples, 2, 100, seed=0).fill(
        window, [s.id for s in window], lambda asked: asked, lambda s: s.id in ("0", "10")
    )
    assert [s.id for s in filled] == ["0", "1", "10", "11"]


def test_the_cursor_goes_on_where_it_stood() -> None:
    samples = numbered(30)

    def windows(cursor: DynamicSampler, numbers: range) -> list[list[Sample]]:
        found = []
        for n in numbers:
            window = samples[n : n + 5]
            found.append(cursor.fill(window, [s.id for s in window], lambda asked: asked, teaches)[0])
        return found

    whole, begun, again = (DynamicSampler(samples, 1, 10, seed=1) for _ in range(3))
    want = windows(whole, range(12))
    windows(begun, range(5))
    again.load_state_dict(begun.state_dict())
    assert windows(again, range(5, 12)) == want[5:]


# --- in a training ------------------------------------------------------------------------------------------------


def luck(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """Right or wrong by the text; for every other sample wrong throughout."""
    if int(group.sample.id) % 2:
        return [0.0] * len(group.completions)
    return [float(int(hashlib.sha256(c.text.encode()).hexdigest(), 16) % 2) for c in group.completions]


@pytest.fixture
def samples(pictures: tuple[Image.Image, ...]) -> list[Sample]:
    return [
        Sample(str(i), "image_preference", f"picture {i}", (pictures[i % 3], pictures[0]), gold={"p_first": 1.0})
        for i in range(12)
    ]


@pytest.fixture
def make(
    tiny: Vlm, perturbed: Callable[[Vlm], Vlm], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[GRPOTrainer, list[dict[str, float]]]]:
    monkeypatch.setitem(rewards.REWARDS, "luck", Reward("luck", (0.0, 1.0), luck))
    start = perturbed(tiny)

    def make(
        states: Path | None = None,
        lora: bool = False,
        engine: type[RolloutEngine] = TransformersEngine,
        **settings: Any,
    ) -> tuple[GRPOTrainer, list[dict[str, float]]]:
        vlm = dataclasses.replace(start, model=copy.deepcopy(start.model))
        if lora:
            vlm = add_lora(vlm, LoraSection(r=2))
        section: dict[str, Any] = {
            "rewards": "luck", "filter_metric": "luck", "filter_epsilon": 0.0, "prompts_per_device": 4,
            "gradient_accumulation_steps": 1,
            "num_generations": 4, "max_steps": 4, "learning_rate": 1e-3, "max_completion_length": 6,
        }  # fmt: skip
        encoder, lines = PromptEncoder(vlm), []
        trainer = GRPOTrainer(
            vlm, TEMPLATE, samples, GrpoSection(**section | settings), engine=engine(vlm, encoder),
            encoder=encoder, listener=None, seed=0, log=lambda step, line: lines.append({"step": step, **line}),
            checkpoints=None if states is None else Checkpoints(states, 1, 10),
        )  # fmt: skip
        return trainer, lines

    return make


def test_a_resumed_training_replaces_the_same_groups(make: Callable[..., Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "max_resample_ratio": 1.0, "beta": 0.04, "sync_ref_model": True, "ref_model_sync_steps": 1,
    }  # fmt: skip
    whole, lines = make(tmp_path, **settings)
    whole.train()
    assert all(0 < row["replaced"] <= row["uninformative"] and row["resampled"] <= 1 for row in lines)
    for step in (3, 4):
        shutil.rmtree(tmp_path / f"{step:07d}", ignore_errors=True)
    again, rest = make(tmp_path, **settings)
    again.train(resume=Checkpoints(tmp_path, 1, 10).latest())
    assert [row["step"] for row in rest] == [3, 4]
    for name, weight in whole.vlm.model.state_dict().items():
        assert torch.equal(weight, again.vlm.model.state_dict()[name]), name
    pairs = zip(whole.reference.parameters(), again.reference.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    plain, _ = make(**settings | {"max_resample_ratio": 0.0})
    plain.train()
    assert not torch.equal(plain.vlm.model.lm_head.weight, whole.vlm.model.lm_head.weight)


class Sleeping(TransformersEngine):
    """Holds no weights from `release_memory` to `update_weights`, as vLLM in its sleep mode."""

    awake, streams, releases = False, 0, 0

    def update_weights(self, weights: Any) -> None:
        self.awake = True

    def release_memory(self) -> None:
        type(self).releases += 1
        self.awake = False

    def stream(self, *asked: Any) -> Any:
        assert self.awake, "asked without weights"
        type(self).streams += 1
        return super().stream(*asked)


def test_an_engine_keeps_its_weights_until_the_replacements_are_there(make: Callable[..., Any]) -> None:
    Sleeping.streams = Sleeping.releases = 0
    trainer, lines = make(engine=Sleeping, max_resample_ratio=1.0, max_steps=2)
    trainer.train()
    assert all(row["resampled"] > 0 for row in lines) and Sleeping.streams > 2 == Sleeping.releases


def test_a_state_of_another_version_is_said_to_be_one(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer, _ = make(tmp_path, max_steps=2)
    trainer.train()
    file = tmp_path / "0000001" / "progress.json"
    progress = json.loads(file.read_text())
    del progress["best"]
    file.write_text(json.dumps(progress))
    metadata = {k: v for k, v in read_manifest(file.parent).items() if k not in ("step", "files", "checksum")}
    write_manifest(file.parent, 1, metadata)
    again, lines = make(tmp_path, max_steps=2)
    with pytest.raises(InputError, match=r"0000001: .*another version .* lacks 'best'; resume with that version"):
        again.train(resume=Checkpoints(tmp_path, 1, 10).latest())
    assert not lines


def test_the_reference_follows(make: Callable[..., Any]) -> None:
    trainer, _ = make(max_steps=1, sync_ref_model=True, ref_model_sync_steps=1, ref_model_mixup_alpha=0.25, beta=0.04)
    before = trainer.reference.policy.lm_head.weight.clone()
    trainer.train()
    after, policy = trainer.reference.policy.lm_head.weight, trainer.vlm.model.lm_head.weight
    assert not torch.equal(before, policy)
    torch.testing.assert_close(after, 0.75 * before + 0.25 * policy)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"max_resample_ratio": 1.0, "filter_epsilon": None}, "set grpo.filter_epsilon"),
        ({"sync_ref_model": True, "beta": 0.0}, "without grpo.beta there is no reference"),
        ({"sync_ref_model": True, "lora": True}, "LoRA is its own reference"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[..., Any], settings: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        make(**settings)


def test_an_alarm_can_end_the_run(make: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alarms = AlarmSection(steps=1, zero_variance=0.1, stop_on=("zero_variance",))
    trainer, lines = make(tmp_path, alarms=alarms)
    with pytest.raises(RunInterrupted, match=r"the alarm zero_variance after step 1; its state is saved"):
        trainer.train()
    assert len(lines) == 1 and capsys.readouterr().err.count("alarm at step 1: zero_variance") == 1
    again, rest = make(tmp_path, alarms=alarms)  # it has been said: whoever resumes wants to go on
    again.train(resume=Checkpoints(tmp_path, 1, 10).latest())
    assert [row["step"] for row in rest] == [2, 3, 4]
