"""A window's scoring: how components become advantages, what is remembered, and stages of length in training."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reasoner_rm import rewards
from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rewards.base import Reward, RewardOutput
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion, Group, RewardContext, Sample, ScoredGroup
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.losses import LossInputs, grpo_loss
from reasoner_rm.training.packed_batch import make_packs
from reasoner_rm.training.reward_scorer import EMA_DECAY, RewardScorer

ROW = Sample("q", "qa", "?", gold={"answer": "7", "kind": "number"})
RIGHT, WRONG, LOOSE = "<think>.</think><answer>7</answer>", "<think>.</think><answer>8</answer>", "<answer>7</answer>"


def scored(texts: Sequence[str], step: int = 0, **section: Any) -> ScoredGroup:
    scorer = RewardScorer(GrpoSection(**section), "processed", None, {}, seed=0)
    group = Group(ROW, tuple(Completion(t, (1, 2), (0.0, 0.0), "stop") for t in texts))
    return scorer([group], [()], [None], step, 0.0)[0]


def test_the_sum_is_the_total_however_advantages_are_made() -> None:
    texts, spec = [RIGHT, WRONG, LOOSE, LOOSE], {"format": 1.0, "accuracy": 0.1}
    found = {
        mixing: scored(texts, rewards=spec, reward_aggregation=mixing) for mixing in ("sum", "decoupled", "pareto")
    }
    assert all(s.total == pytest.approx((1.1, 1.0, 0.1, 0.1)) for s in found.values())
    assert found["sum"].advantages[1] > 0.5  # wrong, and rewarded for its form
    assert found["pareto"].advantages[0] > 0 == found["pareto"].advantages[1] == found["pareto"].advantages[2]


def test_normalised_apart_weights_mean_what_they_say() -> None:
    """One of four is right, three of four are well formed: under the sum, both count by how much they vary."""
    texts = [RIGHT, WRONG, WRONG, "x"]
    plain = scored(texts, rewards={"format": 1.0, "accuracy": 0.01})
    apart = scored(texts, rewards={"format": 1.0, "accuracy": 1.0}, reward_aggregation="decoupled")
    assert plain.advantages[0] == pytest.approx(plain.advantages[1], abs=0.05)
    assert apart.advantages[0] > 1 and apart.advantages[1] == pytest.approx(0, abs=1e-3)


def test_groups_alike_in_accuracy_teach_nothing() -> None:
    texts = [WRONG, "x", WRONG]
    assert any(scored(texts, rewards="unified_think").advantages)
    assert scored(texts, rewards="unified_think", filter_epsilon=0.01).advantages == (0.0,) * 3
    assert any(scored([WRONG, RIGHT], rewards="unified_think", filter_epsilon=0.01).advantages)


LENGTH = """
def length(group, parsed, context):
    return [float(len(c.text)) for c in group.completions]
"""


def test_groups_are_filtered_by_a_users_own_reward_under_its_short_name(tmp_path: Path) -> None:
    """The folder of the file is in neither the name of the metric nor that of `filter_metric`."""
    (tmp_path / "own.py").write_text(LENGTH)
    for name in ("own.py:length", str(tmp_path / "own.py:length")):
        section = {"rewards": {str(tmp_path / "own.py:length"): 1.0, "accuracy": 1.0}, "filter_metric": name}
        alike, differing = (scored(texts, **section, filter_epsilon=0.5) for texts in ([RIGHT, WRONG], [RIGHT, LOOSE]))
        assert alike.components["own.py:length"] == (float(len(RIGHT)),) * 2
        assert not any(alike.advantages) and any(differing.advantages)


def test_a_filter_by_a_component_that_is_not_rewarded_is_refused() -> None:
    with pytest.raises(
        InputError, match="filter_metric is 'accuracy', which is none of the rewards; choose among format"
    ):
        scored([RIGHT, WRONG], rewards={"format": 1.0}, filter_epsilon=0.0)


def test_weights_follow_the_step() -> None:
    spec = {"accuracy": [[0, 0.0], [10, 1.0]], "format": 1.0}
    assert scored([RIGHT, "x"], rewards=spec).total == (1.0, 0.0)
    assert scored([RIGHT, "x"], step=5, rewards=spec).total == (1.5, 0.0)


def test_what_is_logged_is_kept_and_its_running_mean_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks: list[float] = []

    def noting(group: Group, parsed: Any, context: RewardContext) -> RewardOutput:
        peaks.append(context.best_means.get("note", 0.0))
        return RewardOutput([0.0] * len(parsed), metrics={"note": [1.0, None]})

    monkeypatch.setitem(rewards.REWARDS, "noting", Reward("noting", (0.0, 1.0), noting))
    scorer = RewardScorer(GrpoSection(rewards="noting"), "processed", None, {}, seed=0)
    group = Group(ROW, (Completion(RIGHT, (), (), "stop"),) * 2)
    for step in range(3):
        found = scorer([group], [()], [None], step, 0.0)
    assert found[0].metrics == {"note": (1.0, None)}
    assert peaks == pytest.approx([0.0, 1 - EMA_DECAY, 1 - EMA_DECAY**2])


def test_the_section_names_scorers(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def judge(sample, answers, facts):\n    return [float(a == '7') for a in answers]\n")
    section = GrpoSection(rewards="judged", scorers={"judge": f"{file}:judge"})
    group = Group(ROW, tuple(Completion(t, (), (), "stop") for t in (RIGHT, WRONG)))
    found = RewardScorer(section, "processed", None, {}, seed=0)([group], [()], [None], 0, 0.0)[0]
    assert found.components == {"judged": (1.0, 0.0)}
    with pytest.raises(InputError, match="asks a scorer 'judge'"):
        RewardScorer(GrpoSection(rewards="judged"), "processed", None, {}, seed=0)


def test_the_section_says_how_long_to_wait() -> None:
    async def slow(sample: Sample, answers: list[str], facts: Any) -> list[float]:
        await asyncio.sleep(30)
        return [1.0] * len(answers)

    section = GrpoSection(rewards={"judged": 1.0, "format": 1.0}, scorer_timeout=0.1)
    group = Group(ROW, tuple(Completion(t, (), (), "stop") for t in (RIGHT, LOOSE)))
    found = RewardScorer(section, "processed", None, {"judge": slow}, seed=0)([group], [()], [None], 0, 0.0)[0]
    assert found.components["judged"] == (None, None) and found.total == (1.0, 0.0)


# --- single sentences ---


def test_sentences_reach_the_loss_token_by_token(tiny: Vlm) -> None:
    answers = ("Image 1 shows a 7. Image 2 shows a 3.", "Image 2 shows a 3. Image 1 shows a 7.")
    row = Sample("t", "qa", "?", gold={"answer": "x", "kind": "text"})
    completions = []
    for answer in answers:
        text = f"<think>I look.</think><answer>{answer}</answer>"
        ids = tuple(tiny.tokenizer(text, add_special_tokens=False).input_ids)
        completions.append(Completion(text, ids, (0.0,) * len(ids), "stop"))
    marks = lambda sample, said: [1.0 if "7" in s else -1.0 for s in said]  # noqa: E731
    section = GrpoSection(rewards={"sentences": 2.0})
    scorer = RewardScorer(section, "processed", tiny.tokenizer, {"sentences": marks}, seed=0)
    found = scorer([Group(row, tuple(completions))], [()], [None], 0, 0.0)[0]
    assert found.advantages == (0.0, 0.0) and found.token_advantages is not None
    for completion, tokens in zip(completions, found.token_advantages, strict=True):
        spoken = "".join(tiny.tokenizer.decode([i]) for i, a in zip(completion.token_ids, tokens, strict=True) if a > 0)
        assert "Image 1 shows a 7" in spoken and "Image 2" not in spoken

    class Prompt:
        input_ids = ()

    part = make_packs([(found, Prompt())], None)[0]  # type: ignore[list-item]
    advantages = part.advantages(torch.device("cpu"))
    assert advantages.shape == (2, max(len(c.token_ids) for c in completions))
    logprobs = torch.zeros_like(advantages).requires_grad_()
    mask = torch.ones_like(advantages)
    grpo_loss(LossInputs(logprobs, logprobs.detach(), advantages, mask), beta=0.0).loss.backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(torch.sign(-logprobs.grad), torch.sign(advantages))


# --- stages of length ---


def test_stages_say_how_many_and_how_long() -> None:
    stages = [{"max_completion_length": 8, "num_generations": 4, "steps": 2},
              {"max_completion_length": 16, "num_generations": 2, "steps": 3}]  # fmt: skip
    section = GrpoSection(length_schedule=stages)
    assert [section.lengths(s) for s in range(7)] == [(4, 8)] * 2 + [(2, 16)] * 5
    assert section.last_step == 5 and GrpoSection(length_schedule=stages, max_steps=3).last_step == 3
    assert GrpoSection().lengths(9) == (8, 1024) and GrpoSection().last_step == -1


def test_training_follows_its_stages(tiny: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    asked: list[tuple[int, int]] = []

    class Watched(TransformersEngine):
        def stream(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> Iterator[Any]:
            asked.append((len(requests[0].seeds), sampling.max_tokens))
            return super().stream(requests, sampling)

    stages = [{"max_completion_length": 4, "num_generations": 4, "steps": 1},
              {"max_completion_length": 8, "num_generations": 2, "steps": 2}]  # fmt: skip
    section = GrpoSection(
        rewards="format",
        prompts_per_device=1,
        gradient_accumulation_steps=1,
        beta=0.0,
        length_schedule=stages,
        loss_type="dr_grpo",
    )
    samples = [
        Sample(str(i), "image_preference", "x", (pictures[0], pictures[1]), gold={"p_first": 1.0}) for i in range(3)
    ]
    encoder = PromptEncoder(tiny)
    GRPOTrainer(
        tiny, load_template("image_preference", "brief"), samples, section, engine=Watched(tiny, encoder),
        encoder=encoder, listener=None, log=lambda *_: None, seed=0,
    ).train()  # fmt: skip
    assert asked == [(4, 4), (2, 8), (2, 8)]
