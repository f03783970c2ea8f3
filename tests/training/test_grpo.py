"""The trainer's forms of one and the same update, and how often it looks at an image."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reasoner_rm import rewards
from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.listener import frozen_listener
from reasoner_rm.log import warn_once
from reasoner_rm.models import families, prompt_encoder
from reasoner_rm.models.group_logprobs import group_logprobs
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.vision_cache import cache_features
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion, Group, Sample, ScoredGroup
from reasoner_rm.tasks.render import Prompt, load_template, render
from reasoner_rm.training.batch_sampler import BatchSampler, with_swapped
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.packed_batch import make_packs

TEMPLATE = load_template("image_preference", "brief")
Stir = Callable[[Vlm], Vlm]


def vowels(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """A reward that an untrained model's babble already varies in."""
    return [int(hashlib.sha256(c.text.encode()).hexdigest(), 16) % 7 / 6 for c in group.completions]


@pytest.fixture
def babble(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(rewards.REWARDS, "vowels", Reward("vowels", (0.0, 1.0), vowels))
    return "vowels"


@pytest.fixture
def samples(pictures: tuple[Image.Image, ...]) -> list[Sample]:
    """Four comparisons of three pictures, so that each is shown several times."""
    pairs = ((0, 1), (1, 2), (2, 0), (0, 1))
    return [
        Sample(str(i), "image_preference", f"picture {i}", (pictures[a], pictures[b]), gold={"p_first": 1.0})
        for i, (a, b) in enumerate(pairs)
    ]


def train(vlm: Vlm, samples: Sequence[Sample], reward: str, **changes: Any) -> Vlm:
    if changes.pop("copied", True):
        vlm = dataclasses.replace(vlm, model=copy.deepcopy(vlm.model))
    settings: dict[str, Any] = {
        "rewards": reward,
        "prompts_per_device": 2,
        "gradient_accumulation_steps": 2,
        "num_generations": 3,
        "max_steps": 20,
        "learning_rate": 1e-3,
        "max_completion_length": 8,
    }
    encoder = PromptEncoder(vlm, workers=changes.pop("workers", 0))
    engine_type, on_groups = changes.pop("engine", TransformersEngine), changes.pop("on_groups", None)
    section = GrpoSection(**settings | changes)
    engine = engine_type(vlm, encoder)
    GRPOTrainer(
        vlm,
        TEMPLATE,
        samples,
        section,
        engine=engine,
        encoder=encoder,
        listener=None,
        log=lambda *_: None,
        seed=0,
        on_groups=on_groups,
    ).train()
    return vlm


def weights(vlm: Vlm) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in vlm.model.parameters()])


def off(got: Vlm, want: Vlm, start: Vlm) -> float:
    """How far two trainings ended apart, relative to the way that they went."""
    return float((weights(got) - weights(want)).norm() / (weights(want) - weights(start)).norm())


@pytest.mark.parametrize(
    ("loss_type", "steps", "forms"),
    [
        ("grpo", 10, [{"shared_prefix": False}]),
        ("grpo", 5, [{"max_tokens_per_forward": 60}, {"max_tokens_per_forward": 5}, {"gradient_checkpointing": True}]),
        ("dapo", 4, [{"max_tokens_per_forward": 60}]),
        ("bnpo", 4, [{"max_tokens_per_forward": 60}]),
    ],
    ids=["repeated", "in parts", "dapo", "bnpo"],
)
def test_every_form_trains_the_same_weights(
    tiny: Vlm,
    perturbed: Stir,
    samples: list[Sample],
    babble: str,
    loss_type: str,
    steps: int,
    forms: list[dict[str, Any]],
) -> None:
    start = perturbed(tiny)
    settings = {"max_steps": steps, "loss_type": loss_type}
    want = train(start, samples, babble, **settings)
    for form in forms:
        assert off(train(start, samples, babble, **settings, **form), want, start) <= 1e-2, form


def test_the_measure_sees_what_a_tenth_of_the_learning_rate_changes(
    tiny: Vlm, perturbed: Stir, samples: list[Sample], babble: str
) -> None:
    start = perturbed(tiny)
    want, other = (train(start, samples, babble, max_steps=4, learning_rate=rate) for rate in (1e-3, 1.1e-3))
    assert off(other, want, start) > 2e-2


def test_each_distinct_image_passes_the_tower_once_a_pass(
    tiny: Vlm, samples: list[Sample], babble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two passes a step, the rollout's and the update's; 4 comparisons show 8 images, of which 3 are distinct."""
    seen: list[int] = []
    tower = type(tiny.model.model.visual)
    forward = tower.forward

    def counted(self: Any, hidden_states: Any, grid_thw: Any, **kwargs: Any) -> Any:
        seen.append(len(grid_thw))
        return forward(self, hidden_states, grid_thw=grid_thw, **kwargs)

    monkeypatch.setattr(tower, "forward", counted)
    train(tiny, samples, babble, prompts_per_device=4, gradient_accumulation_steps=1, max_steps=3, beta=0.0)
    assert seen == [3] * (2 * 3)


@pytest.mark.parametrize("family", ["tiny", "tiny_qwen2", "tiny_qwen3"])
def test_a_frozen_tower_sees_each_image_once_a_run(
    family: str, samples: list[Sample], babble: str, request: pytest.FixtureRequest
) -> None:
    start = request.getfixturevalue(family)
    frozen = dataclasses.replace(start, model=copy.deepcopy(start.model))
    frozen.model.model.visual.requires_grad_(False)
    want = train(frozen, samples, babble, max_steps=3)
    keeping = dataclasses.replace(frozen, model=copy.deepcopy(frozen.model))
    tower, seen = keeping.model.model.visual, []
    compute = tower.forward

    def counted(pixels: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        seen.append(len(grid_thw))
        return compute(pixels, grid_thw=grid_thw, **kwargs)

    tower.forward = counted
    cache_features(tower)
    got = train(keeping, samples, babble, max_steps=3, copied=False)
    assert sum(seen) == 3
    torch.testing.assert_close(weights(got), weights(want), rtol=1e-4, atol=1e-5)


def test_a_small_memory_forgets_what_was_seen_longest_ago(tiny: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    vlm = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model).requires_grad_(False))
    encoder = PromptEncoder(vlm)
    batches = [encoder.batch([encoder.encode(Prompt((p, "?"), (True, False)))]) for p in pictures]
    want = [group_logprobs(vlm, batch, [[(1, 2)]]).logprobs for batch in batches]
    tower, seen = vlm.model.model.visual, []
    tower.register_forward_hook(lambda m, a, out: seen.append(0))
    cache_features(tower, max_bytes=1)
    memory = tower.forward
    for batch, logprobs in [*zip(batches, want, strict=True)] * 2:
        torch.testing.assert_close(group_logprobs(vlm, batch, [[(1, 2)]]).logprobs, logprobs)
        assert len(memory.features) == 1 and memory.cached_bytes == sum(
            f.nbytes for f in next(iter(memory.features.values()))
        )
    with pytest.raises(ValueError, match="trained"):
        cache_features(tiny.model.model.visual)


def test_an_image_is_processed_once_a_run(
    tiny: Vlm, samples: list[Sample], babble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processed: list[str] = []
    original = prompt_encoder.process_image
    monkeypatch.setattr(prompt_encoder, "process_image", lambda k, r, p: processed.append(k) or original(k, r, p))
    train(tiny, samples, babble, max_steps=2)
    assert len(processed) == len(set(processed)) == 3


def test_workers_process_the_next_window_ahead(
    tiny: Vlm, samples: list[Sample], babble: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From files, as in a run: the first window's images are processed here, all others ahead; the weights agree."""
    here: list[str] = []
    original = prompt_encoder.process_image
    monkeypatch.setattr(prompt_encoder, "process_image", lambda k, r, p: here.append(k) or original(k, r, p))
    rows = []
    for i, sample in enumerate(samples * 2):
        paths = []
        for j, image in enumerate(sample.images):
            assert isinstance(image, Image.Image)
            paths.append(str(tmp_path / f"{i}-{j}.png"))
            image.save(paths[-1])
        rows.append(dataclasses.replace(sample, id=str(i), images=tuple(paths)))
    settings: dict[str, Any] = {"max_steps": 2, "prompts_per_device": 4, "gradient_accumulation_steps": 1}
    want = train(tiny, rows, babble, **settings)
    assert len(here) == 16
    here.clear()
    got = train(tiny, rows, babble, workers=1, **settings)
    assert len(here) == 8
    assert torch.equal(weights(got), weights(want))


def test_a_broken_image_is_reported_when_it_is_wanted(tiny: Vlm, tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(b"no image")
    encoder = PromptEncoder(tiny, workers=1)
    encoder.prefetch([str(file)])
    with pytest.raises(InputError, match=r"broken\.png"):
        encoder.encode(Prompt((str(file),), (True,)))


def test_a_family_without_packing_runs_repeated_and_says_so_once(
    tiny_folder: Path, perturbed: Stir, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Qwen2.5-VL itself, without packing: completions, beliefs and log-probabilities stay the same."""
    known = perturbed(load_vlm(tiny_folder, device="cpu"))
    monkeypatch.setitem(families.FAMILIES, "qwen2_5_vl", dataclasses.replace(known.family, supports_packing=False))
    warn_once.cache_clear()
    plain = perturbed(load_vlm(tiny_folder, device="cpu"))
    load_vlm(tiny_folder, device="cpu")
    assert capsys.readouterr().err.count("repeats its prompt") == 1
    assert not plain.family.supports_packing
    requests = [GenerationRequest(render(s, TEMPLATE), (1, 2, 3)) for s in samples]
    sampling = SamplingParams(1.0, 12)
    want, got = (TransformersEngine(vlm).generate(requests, sampling) for vlm in (known, plain))
    assert [[c.token_ids for c in g] for g in got] == [[c.token_ids for c in g] for g in want]
    ids = [[c.token_ids for c in group] for group in want]
    logprobs = []
    for vlm in (known, plain):
        encoder = PromptEncoder(vlm)
        logprobs.append(group_logprobs(vlm, encoder.batch([encoder.encode(r.prompt) for r in requests]), ids).logprobs)
    torch.testing.assert_close(logprobs[1], logprobs[0], rtol=1e-5, atol=1e-5)
    texts = [["<think>a</think>", "<think>a longer one</think>"]] * len(samples)
    heard = [frozen_listener(vlm, TEMPLATE, min_mass=0.0).beliefs(samples, texts) for vlm in (known, plain)]
    for ours, theirs in zip(*heard, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a is not None and b is not None
            assert a.probs == pytest.approx(b.probs, abs=1e-5)


class Modest(TransformersEngine):
    """An engine that reports each token as e² times less likely than it is."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        for i, group in super().stream(requests, sampling):
            yield i, tuple(dataclasses.replace(c, logprobs=tuple(p - 2 for p in c.logprobs)) for c in group)


def test_the_correction_reaches_the_update(tiny: Vlm, samples: list[Sample], babble: str) -> None:
    """An engine far from the policy: its sequences are masked, and nothing but zero gradients is left."""
    settings: dict[str, Any] = {"max_steps": 1, "beta": 0.0, "engine": Modest, "weight_decay": 0.0}
    for mode, moved in ((None, True), ("token_truncate", True), ("sequence_mask", False)):
        low = train(tiny, samples, babble, **settings, importance_sampling_correction=mode)
        assert bool((weights(low) != weights(tiny)).any()) is moved, mode


def test_both_orders_are_rolled_out_in_one_window(tiny: Vlm, samples: list[Sample], babble: str) -> None:
    windows: list[list[str]] = []
    train(tiny, samples, babble, max_steps=2, both_orders=True, log_rollouts_every=1,
          on_groups=lambda step, scored: windows.append([s.group.sample.id for s in scored]))  # fmt: skip
    for ids in windows:
        assert len(ids) == 4
        assert all(b == f"{a}~swapped" for a, b in zip(ids[::2], ids[1::2], strict=True))


def test_both_orders_refuses_what_has_none(tiny: Vlm, samples: list[Sample], babble: str) -> None:
    with pytest.raises(InputError, match="even number"):
        train(tiny, samples, babble, both_orders=True, prompts_per_device=3, gradient_accumulation_steps=1)
    with pytest.raises(InputError, match="compares nothing"):
        with_swapped([Sample("q", "qa", "what?")])


# --- windows and parts ----------------------------------------------------------------------------------------


def test_both_orders_stand_side_by_side(samples: list[Sample]) -> None:
    twins = with_swapped(samples)
    for one, other in zip(twins[::2], twins[1::2], strict=True):
        assert other.images == one.images[::-1] and other.gold["p_first"] == 1 - one.gold["p_first"]
        assert other.id != one.id and other.group_id == one.group_id
    order = [i for batch in BatchSampler(len(twins), 4, seed=3, block=2) for i in batch]
    assert sorted(order) == list(range(8))
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(order[::2], order[1::2], strict=True))


lengths = st.tuples(st.integers(1, 20), st.lists(st.integers(1, 9), min_size=1, max_size=6))


@given(st.lists(lengths, min_size=1, max_size=5), st.one_of(st.none(), st.integers(1, 60)))
def test_parts_hold_everything_once_and_in_order(groups: list[tuple[int, list[int]]], limit: int | None) -> None:
    rows = []
    for i, (prompt, group) in enumerate(groups):
        completions = tuple(Completion(f"{i}/{j}", tuple(range(n)), (0.0,) * n, "stop") for j, n in enumerate(group))
        advantages = tuple(float(10 * i + j) for j in range(len(group)))
        scored = ScoredGroup(
            Group(Sample(str(i), "qa", ""), completions), (), {}, (0.0,) * len(group), advantages, None
        )
        rows.append((scored, EncodedPrompt(tuple(range(prompt)), ())))
    parts = make_packs(rows, limit)
    flat = [c.text for part in parts for c in part.completions]
    assert flat == [f"{i}/{j}" for i, (_, group) in enumerate(groups) for j in range(len(group))]
    cpu = torch.device("cpu")
    assert torch.cat([p.advantages(cpu) for p in parts]).tolist() == [a for s, _ in rows for a in s.advantages]
    sizes = [
        sum(len(x.prompt.input_ids) + sum(len(c.token_ids) for c in x.completions) for x in p.slices) for p in parts
    ]
    if limit is None:
        assert len(parts) == 1
    for part, size in zip(parts, sizes, strict=True):
        assert limit is None or size <= limit or len(part.completions) == 1
    for size, following in zip(sizes, parts[1:], strict=False):  # no part could have taken the next completion's prompt
        first = following.slices[0]
        if limit is not None and first.chosen.start == 0:
            assert (
                size + len(first.prompt.input_ids) + len(first.completions[0].token_ids) > limit
                or len(first.completions) > 1
            )
