"""Each adapter as its trainer calls it: the examples, run, and what they promise."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_engine import ColorEngine, picture, seeing_judge
from judge_server import serving
from PIL import Image

from reasoner_rm import Judge
from reasoner_rm.errors import InputError
from reasoner_rm.judge.adapters import (
    as_dancegrpo,
    as_differentiable,
    as_flow_grpo,
    as_multi_score,
    as_pref_grpo,
    as_trl_reward,
)
from reasoner_rm.judge.adapters.differentiable import patches
from reasoner_rm.server.app import create_app

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in [p.stem for p in EXAMPLES.glob("*.py")]:
        sys.modules.pop(name, None)


def batch(*colours: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture(c)) for c in colours])).permute(0, 3, 1, 2).float() / 255


def test_flow_grpo() -> None:
    reward = as_flow_grpo(seeing_judge(is_base_model=True))
    prompts = ["a red thing"] * 3
    for images in (batch("red", "blue", "red"), [picture(c) for c in ("red", "blue", "red")]):
        scores, info = reward(images, prompts, [{}] * 3)
        assert scores == [1.0, 0.0, 1.0] and info["parsed_mask"] == [True] * 3
        assert torch.as_tensor(scores).shape == (3,)
    nhwc = (batch("red", "blue", "red") * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert reward(nhwc, prompts, [{}] * 3, only_strict=True)[0] == [1.0, 0.0, 1.0]
    details, _ = as_multi_score({"judge": (reward, 2.0), "one": (lambda *a, **k: ([1.0] * 3, {}), 0.5)})(
        nhwc, prompts, [{}] * 3, only_strict=False
    )
    assert details == {"judge": [1.0, 0.0, 1.0], "one": [1.0] * 3, "avg": [2.5, 0.5, 2.5]}
    with pytest.raises(InputError, match="none of them called avg"):
        as_multi_score({"avg": (reward, 1.0)})


class Sometimes(ColorEngine):
    """Cannot be read where a picture is green."""

    def _answer(self, request, index):  # type: ignore[no-untyped-def]
        import dataclasses

        found = super()._answer(request, index)
        return dataclasses.replace(found, text="<think>hm") if "is green" in found.text else found


def test_what_is_unread_is_neither_paid_nor_punished() -> None:
    judge = seeing_judge(is_base_model=True)
    judge.engine.engine = Sometimes()
    images = [picture(c) for c in ("red", "blue", "green", "green")]
    prompts = ["a red thing"] * 3 + ["a green thing"]
    scores, info = as_flow_grpo(judge)(images, prompts, None)
    assert scores == [1.0, 0.0, 0.5, 0.5] and info["parsed_mask"] == [True, True, False, False]
    assert as_flow_grpo(judge, on_unparsed="zero")(images, prompts, None)[0] == [1.0, 0.0, 0.0, 0.0]
    assert as_dancegrpo(judge)(images, prompts) == [1.0, 0.0, -1.0, -1.0]
    with pytest.raises(InputError, match="no score could be read"):
        as_flow_grpo(judge, on_unparsed="raise")(images, prompts, None)
    with pytest.raises(InputError, match="none of 1 scores could be read"):
        as_flow_grpo(judge)(images[2:3], prompts[2:3], None)


def test_pref_grpo() -> None:
    wins, info = as_pref_grpo(seeing_judge())(batch("blue", "red", "yellow", "red"), ["red then yellow"] * 4, None)
    assert info["mode"] == "win_rate" and wins[1] == wins[3] > wins[2] > wins[0]
    assert math.isclose(sum(wins), 2.0), "every comparison is won once"


def test_trl() -> None:
    with pytest.raises(InputError, match="not for response_preference"):
        as_trl_reward(seeing_judge())
    reward = as_trl_reward(seeing_judge(task="response_preference"))
    prompts = ["which?", "which?", "other?"]
    assert reward(prompts=prompts, completions=["a", "b", "c"], images=None, unknown=[1, 2, 3]) == [0.5, 0.5, None]


@pytest.mark.parametrize("name", ["flow_grpo", "dance_grpo", "pref_grpo"])
def test_examples_of_image_trainers(name: str) -> None:
    import importlib

    found = importlib.import_module(name).train(seeing_judge(is_base_model=True))
    values = list(found.values()) if isinstance(found, dict) else found
    assert np.isfinite(np.concatenate([np.ravel(np.asarray(v)) for v in values])).all()


def test_examples_of_answers_and_filters() -> None:
    import best_of_n
    import openrlhf
    import trl_reward

    judge = seeing_judge(task="response_preference")
    for make in (trl_reward.as_trl_reward, trl_reward.as_trl_reward_async):
        rewards, logged = trl_reward.step(make(judge), ["A red circle.", "A blue square.", "A red circle."])
        assert rewards[0] == rewards[2] and rewards == [0.5] * 3 and logged == {"judge/unread": 0.0}
    assert best_of_n.best(seeing_judge()) in range(6)
    assert best_of_n.agreed(seeing_judge()) in ([], ["pair-0", "pair-2"])
    with serving(create_app(judge)) as url:
        found = openrlhf.request_rewards(url, ["A red circle.", "A blue square."])
    assert found == {"rewards": [0.5, 0.5], "unread": []}
    with (
        serving(create_app(seeing_judge())) as url,
        pytest.raises(SystemExit, match=r"answers 4.*not for response_preference"),
    ):
        openrlhf.request_rewards(url, ["A red circle.", "A blue square."])
    seen = {len(r.prompt.images) for r in judge.engine.engine.asked}  # type: ignore[attr-defined]
    assert seen == {1}, "the image travelled with the question"


# --- the differentiable form ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Judge:
    return Judge.from_pretrained("builtin:pocket-base", "transformers", template="brief")


def test_patches_are_the_processors_own(real: Judge) -> None:
    """Equal at a size that needs no resizing; where the processor resizes, it rounds to bytes."""
    vlm = real.engine.engine.vlm  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for shape, most in (((56, 56), 1e-5), ((56, 84), 0.006), ((61, 90), 0.006)):
        noise = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        out = vlm.processor.image_processor(images=[noise], return_tensors="pt")
        found, grid = patches(torch.from_numpy(np.asarray(noise).copy()).permute(2, 0, 1).float() / 255, vlm)
        assert list(grid) == out["image_grid_thw"][0].tolist()
        assert (found - out["pixel_values"]).abs().mean() < most, "about half a byte, in units of the deviation"


def test_p_yes_has_the_gradient_of_finite_differences(real: Judge) -> None:
    reward = as_differentiable(real)
    images = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(1), requires_grad=True)
    value = reward(images, ["a red circle"])
    assert value.shape == (1,) and 0 < float(value) < 1
    (gradient,) = torch.autograd.grad(value.sum(), images)
    assert float(gradient.abs().max()) > 0
    direction = gradient / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        up, down = (reward((images + s * step * direction).clamp(0, 1), ["a red circle"]) for s in (1, -1))
    assert math.isclose(float(up - down) / (2 * step), float(gradient.norm()), rel_tol=0.1)
    assert not any(p.grad is not None for p in real.engine.engine.vlm.model.parameters())  # type: ignore[attr-defined]


def test_the_latent_of_a_generator_climbs(real: Judge) -> None:
    import reno

    seen = reno.optimise(real, steps=6)
    assert seen[-1] > seen[0]


def test_what_has_no_gradient_is_refused(real: Judge) -> None:
    with pytest.raises(InputError, match=r"trained to reason .* sampled tokens have no gradient; use a base model"):
        as_differentiable(Judge(real.engine.engine, real.config))
    with pytest.raises(InputError, match="transformers engine"):
        as_differentiable(seeing_judge(is_base_model=True))
    with pytest.raises(InputError, match="images of shape"):
        as_differentiable(real)(torch.zeros(3, 56, 56), ["a"])
