"""Rows that join and leave a running batch say what they would have said alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.slot_cache import Slots
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.continuous_batching import ContinuousBatch, DecodeJob
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import Prompt

Stir = Callable[[Vlm], Vlm]


@pytest.fixture(params=["tiny", "tiny_qwen2", "tiny_qwen3"])
def vlm(request: pytest.FixtureRequest, perturbed: Stir) -> Vlm:
    return perturbed(request.getfixturevalue(request.param))


def asked(pictures: tuple[Image.Image, ...]) -> list[tuple[Prompt, tuple[int, ...], SamplingParams]]:
    """Prompts of many lengths, with one image, two, three and none, drawn in several ways."""
    one = Prompt((pictures[0], "Which image is better?"), (True, False))
    two = Prompt(("Image 1: ", pictures[1], "Image 2: ", pictures[2], "Caption: a 3"), (False, True) * 2 + (False,))
    three = Prompt((*pictures, "Reason. " * 30), (True, True, True, False))
    none = Prompt(("a 7",), (False,))
    return [
        (one, (1,), SamplingParams(0.0, 9)), (none, (2,), SamplingParams(0.0, 30)),
        (two, (3,), SamplingParams(1.0, 14)),
        (three, (4,), SamplingParams(0.7, 5)), (two, (5, 6, 7), SamplingParams(1.0, 11)),
        (none, (8,), SamplingParams(1.0, 1)),
        (one, (9,), SamplingParams(1.0, 12, top_p=0.5)), (three, (10, 11), SamplingParams(0.0, 3)),
        (none, (12,), SamplingParams(1.3, 20)),
    ]  # fmt: skip


def test_who_joins_late_says_what_he_says_alone(vlm: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    encoder, engine = PromptEncoder(vlm), TransformersEngine(vlm)
    batch, said, sizes, most = ContinuousBatch(vlm, encoder), {}, set(), 0
    waiting = deque(DecodeJob(i, encoder.encode(p), seeds, how) for i, (p, seeds, how) in enumerate(asked(pictures)))
    while waiting or batch:
        if waiting:  # a newcomer a step
            batch.join([waiting.popleft()])
        sizes.add(len(batch))
        for job in batch.step():
            said[job.key] = job.completions
        most = max(most, len(batch.jobs))
    assert most > 3 and len(sizes) > 4, "they were under way together"
    for i, (prompt, seeds, sampling) in enumerate(asked(pictures)):
        (alone,) = engine.generate([GenerationRequest(prompt, seeds)], sampling)
        assert [c.token_ids for c in said[i]] == [c.token_ids for c in alone]
        assert [c.text for c in said[i]] == [c.text for c in alone]
        for mine, his in zip(said[i], alone, strict=True):
            assert mine.logprobs == pytest.approx(his.logprobs, abs=2e-5) and mine.finish_reason == his.finish_reason


def test_several_join_at_once_and_are_watched(tiny: Vlm, perturbed: Stir, pictures: tuple[Image.Image, ...]) -> None:
    vlm = perturbed(tiny)
    encoder, rows, how = PromptEncoder(vlm), asked(pictures), SamplingParams(1.0, 8)
    batch, seen = ContinuousBatch(vlm, encoder), []
    batch.join(
        [DecodeJob(i, encoder.encode(rows[i][0]), (i,), how, lambda _, text: seen.append(text)) for i in range(4)]
    )
    done = []
    while batch:
        done += batch.step()
    for job in done:
        (alone,) = TransformersEngine(vlm).generate([GenerationRequest(rows[job.key][0], job.seeds)], how)
        assert job.completions[0].token_ids == alone[0].token_ids
        assert alone[0].text.rstrip("\ufffd") in seen
    assert {job.key for job in done} == {0, 1, 2, 3} and len(seen) == 4 * 8


def test_what_a_broken_row_leaves_in_its_slot_reaches_nobody() -> None:
    """Masked positions are multiplied by zero: what stands there has to be finite."""
    slots, sound = Slots(), torch.ones(1, 2, 3, 4)
    slots.join([sound], [sound], [3], 1)
    slots.join([sound * torch.nan], [sound * torch.nan], [3], 1)
    assert slots.leave([1]) == [0]
    slots.join([sound], [sound], [1], 1)
    slots.forward_kwargs()
    out = slots.attend(0, torch.ones(2, 4, 1, 4), torch.ones(2, 2, 1, 4), torch.ones(2, 2, 1, 4), 0.5)
    assert out.shape == (2, 1, 4, 4) and torch.equal(out, torch.ones_like(out))
