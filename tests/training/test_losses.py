"""The loss and the advantages against numbers worked out by hand, and against loops in plain Python."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.training.advantages import group_advantages
from reasoner_rm.training.losses import (
    Correction,
    LossInputs,
    LossNormalizer,
    LossType,
    grpo_loss,
    importance_sampling_correction,
)

LOSS_TYPES: tuple[LossType, ...] = get_args(LossType)
MAX_COMPLETION = 7
Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Case:
    """A loss's inputs as plain lists."""

    logprobs: Rows
    old: Rows
    ref: Rows
    mask: Rows
    advantages: Sequence[float]
    weights: Sequence[float]
    beta: float
    clip_low: float
    clip_high: float

    def inputs(self) -> LossInputs:
        logprobs, old, ref, advantages, weights = (
            torch.tensor(x, dtype=torch.float64)
            for x in (self.logprobs, self.old, self.ref, self.advantages, self.weights)
        )
        return LossInputs(logprobs.requires_grad_(), old, advantages, torch.tensor(self.mask), ref, weights)

    def run(self, loss_type: LossType, inputs: LossInputs | None = None, normalizer: LossNormalizer | None = None):
        """Loss, gradient with regard to `logprobs`, and metrics."""
        inputs = inputs or self.inputs()
        settings = {"beta": self.beta, "clip_low": self.clip_low, "clip_high": self.clip_high}
        out = grpo_loss(inputs, loss_type=loss_type, max_completion=MAX_COMPLETION, normalizer=normalizer, **settings)
        return out.loss.detach(), torch.autograd.grad(out.loss, inputs.logprobs)[0], out.metrics


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    b, c = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def rows(value: st.SearchStrategy) -> list[list]:
        return draw(st.lists(st.lists(value, min_size=c, max_size=c), min_size=b, max_size=b))

    def column(value: st.SearchStrategy) -> list:
        return draw(st.lists(value, min_size=b, max_size=b))

    lengths = column(st.integers(0, c))
    return Case(
        logprobs=rows(numbers(-4, 0)),
        old=rows(numbers(-4, 0)),
        ref=rows(numbers(-4, 0)),
        mask=[[int(t < n) for t in range(c)] for n in lengths],
        advantages=column(numbers(-2, 2)),
        weights=column(numbers(0, 2)),
        beta=draw(st.sampled_from([0.0, 0.04, 1.0])),
        clip_low=draw(st.sampled_from([0.1, 0.2])),
        clip_high=draw(st.sampled_from([0.2, 0.28])),
    )


def by_hand(case: Case, loss_type: LossType) -> tuple[float, list[list[float]], dict[str, float]]:
    """The definition in loops, with the gradient worked out on paper."""
    lengths = [sum(row) for row in case.mask]
    tokens, b = sum(lengths), len(lengths)
    share: dict[str, Callable[[int], float]] = {
        "grpo": lambda i: 1 / (b * lengths[i]),
        "dr_grpo": lambda i: 1 / (b * MAX_COMPLETION),
        "bnpo": lambda i: 1 / tokens,
        "dapo": lambda i: 1 / tokens,
        "gspo": lambda i: 1 / (b * lengths[i]),
        "cispo": lambda i: 1 / tokens,
        "sapo": lambda i: 1 / (b * lengths[i]),
    }
    loss, grads = 0.0, [[0.0] * len(row) for row in case.mask]
    bounds = {"cispo": ("clip_high",), "sapo": ()}.get(loss_type, ("clip_low", "clip_high"))
    metrics = dict.fromkeys(("ratio", *bounds, "kl"), 0.0)
    for i, row in enumerate(case.mask):
        a, scale = case.advantages[i], case.weights[i]
        moved = [case.logprobs[i][t] - case.old[i][t] for t, kept in enumerate(row) if kept]
        for t, kept in enumerate(row):
            if not kept:
                continue
            logprob = case.logprobs[i][t]
            ratio = math.exp(sum(moved) / len(moved) if loss_type == "gspo" else logprob - case.old[i][t])
            d = case.ref[i][t] - case.logprobs[i][t]
            low = a < 0 and ratio < 1 - case.clip_low
            high = a > 0 and ratio > 1 + case.clip_high
            if loss_type == "cispo":
                slope = min(ratio, 1 + case.clip_high)
                paid = slope * logprob
            elif loss_type == "sapo":
                temperature = 1.0 if a > 0 else 1.05
                gate = 1 / (1 + math.exp(-temperature * (ratio - 1)))
                paid, slope = 4 * gate / temperature, 4 * gate * (1 - gate) * ratio
            else:
                paid = 1 - case.clip_low if low else 1 + case.clip_high if high else ratio
                slope = 0.0 if low or high else ratio
            kl = math.exp(d) - 1 - d
            each = scale * share[loss_type](i)
            loss += each * (-paid * a + case.beta * kl)
            grads[i][t] = each * (-slope * a + case.beta * (1 - math.exp(d)))
            for name, value in (("ratio", ratio), ("clip_low", low), ("clip_high", high), ("kl", kl)):
                if name in metrics:
                    metrics[name] += value / tokens
    return loss, grads, metrics


def close(got: torch.Tensor, want: object, tolerance: float = 1e-9) -> None:
    want = torch.as_tensor(want, dtype=torch.float64)
    torch.testing.assert_close(got.to(torch.float64), want, rtol=tolerance, atol=tolerance)


# --- by hand --------------------------------------------------------------------------------------------------

K3 = 0.5 + math.log(2) - 1  # the policy says 1/2, the reference 1/4


@pytest.mark.parametrize(
    ("loss_type", "want"),
    [
        ("grpo", 0.04 * K3),  # means of (-1, -1) and (+1): they cancel
        ("dr_grpo", (-1 + 3 * 0.04 * K3) / (2 * MAX_COMPLETION)),
        ("bnpo", (-1 + 3 * 0.04 * K3) / 3),
        ("dapo", (-1 + 3 * 0.04 * K3) / 3),
    ],
)
def test_on_policy_by_hand(loss_type: LossType, want: float) -> None:
    half, quarter = [[math.log(1 / 2)] * 2] * 2, [[math.log(1 / 4)] * 2] * 2
    case = Case(half, half, quarter, [[1, 1], [1, 0]], [1, -1], [1, 1], 0.04, 0.2, 0.2)
    loss, _, metrics = case.run(loss_type)
    close(loss, want)
    close(metrics["kl"], K3)
    close(metrics["ratio"], 1.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "low", "high"),
    [
        (1.5, 1.0, -1.2, 0.0, 0, 1),  # good, and already much likelier: no more pay
        (1.5, -1.0, 1.5, 1.5, 0, 0),  # bad, yet likelier: the full price
        (0.5, 1.0, -0.5, -0.5, 0, 0),  # good, yet rarer: the full pull
        (0.5, -1.0, 0.8, 0.0, 1, 0),  # bad, and already much rarer: enough
        (1.1, 1.0, -1.1, -1.1, 0, 0),
    ],
)
def test_clipping_by_hand(ratio: float, advantage: float, loss: float, slope: float, low: int, high: int) -> None:
    case = Case([[math.log(ratio)]], [[0.0]], [[0.0]], [[1]], [advantage], [1], 0.0, 0.2, 0.2)
    got, grad, metrics = case.run("grpo")
    close(got, loss)
    close(grad, [[slope]])
    assert (metrics["clip_low"], metrics["clip_high"]) == (low, high)


@pytest.mark.parametrize(("loss_type", "want"), [("grpo", -0.5), ("dr_grpo", -2 / 14), ("bnpo", -1.0), ("dapo", -1.0)])
def test_a_fully_masked_row_is_a_row_without_tokens(loss_type: LossType, want: float) -> None:
    zeros = [[0.0, 0.0]] * 2
    case = Case(zeros, zeros, zeros, [[1, 1], [0, 0]], [1, 5], [1, 1], 0.04, 0.2, 0.2)
    loss, grad, _ = case.run(loss_type)
    close(loss, want)
    assert not grad[1].any()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_nothing_but_masked_rows_is_zero(loss_type: LossType) -> None:
    ones = [[-1.0]]
    loss, grad, metrics = Case(ones, ones, ones, [[0]], [1], [1], 0.04, 0.2, 0.2).run(loss_type)
    assert loss == 0 and not grad.any()
    assert all(value == 0 for value in metrics.values())


def test_what_is_missing_is_named() -> None:
    row = torch.zeros(1, 1)
    inputs = LossInputs(row, row, torch.ones(1), torch.ones(1, 1))
    with pytest.raises(ValueError, match="ref_logprobs"):
        grpo_loss(inputs)
    with pytest.raises(ValueError, match="max_completion"):
        grpo_loss(inputs, beta=0.0, loss_type="dr_grpo")
    assert "kl" not in grpo_loss(inputs, beta=0.0).metrics


# --- properties -----------------------------------------------------------------------------------------------


@given(cases(), st.sampled_from(LOSS_TYPES))
def test_equals_the_loops(case: Case, loss_type: LossType) -> None:
    loss, grads, metrics = by_hand(case, loss_type)
    got_loss, got_grads, got_metrics = case.run(loss_type)
    close(got_loss, loss)
    close(got_grads, grads)
    assert got_metrics.keys() == metrics.keys()
    for name, value in metrics.items():
        close(got_metrics[name], value)


@given(cases(), st.sampled_from(LOSS_TYPES), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case: Case, loss_type: LossType, random) -> None:
    inputs = case.inputs()
    order = random.sample(range(len(case.mask)), len(case.mask))
    mixed = _rows(inputs, order)
    loss, grad, _ = case.run(loss_type, inputs)
    mixed_loss, mixed_grad, _ = case.run(loss_type, mixed)
    close(mixed_loss, loss)
    close(mixed_grad, grad[order])


@given(cases(), st.sampled_from(LOSS_TYPES), st.sampled_from([math.nan, math.inf, -math.inf, 1e30]))
def test_masked_positions_are_never_read(case: Case, loss_type: LossType, rubbish: float) -> None:
    clean = case.inputs()
    hidden = clean.mask == 0
    logprobs, old, ref = (
        x.detach().masked_fill(hidden, rubbish) for x in (clean.logprobs, clean.old_logprobs, clean.ref_logprobs)
    )
    dirty = dataclasses.replace(clean, logprobs=logprobs.requires_grad_(), old_logprobs=old, ref_logprobs=ref)
    (loss, grad, metrics), (clean_loss, clean_grad, clean_metrics) = (
        case.run(loss_type, inputs) for inputs in (dirty, clean)
    )
    assert torch.equal(loss, clean_loss) and torch.equal(grad, clean_grad) and metrics == clean_metrics
    assert not grad[hidden].any()


@given(cases(), st.sampled_from(LOSS_TYPES))
def test_no_advantage_and_no_kl_teach_nothing(case: Case, loss_type: LossType) -> None:
    case = dataclasses.replace(case, beta=0.0, advantages=[0.0] * len(case.advantages))
    loss, grad, _ = case.run(loss_type)
    assert loss == 0 and not grad.any()


@given(cases(), st.sampled_from(LOSS_TYPES))
def test_without_kl_no_step_makes_a_worse_completion_likelier(case: Case, loss_type: LossType) -> None:
    case = dataclasses.replace(case, beta=0.0)
    _, grad, metrics = case.run(loss_type)
    assert (grad * torch.tensor(case.advantages)[:, None] <= 0).all()
    assert all(0 <= metrics[name] <= 1 for name in metrics if name.startswith("clip"))


@given(cases(), st.sampled_from(LOSS_TYPES), st.integers(1, 3))
def test_the_losses_of_the_parts_add_up(case: Case, loss_type: LossType, first: int) -> None:
    inputs = case.inputs()
    b = len(case.mask)
    parts = [_rows(inputs, list(rows)) for rows in (range(b)[:first], range(b)[first:]) if rows]
    normalizer = LossNormalizer(b, sum(map(sum, case.mask)))
    loss, grad, _ = case.run(loss_type, inputs)
    out = [case.run(loss_type, part, normalizer) for part in parts]
    close(sum(part[0] for part in out), loss)
    close(torch.cat([part[1] for part in out]), grad)


def _rows(inputs: LossInputs, rows: list[int]) -> LossInputs:
    given = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}
    picked = {name: value[rows].detach() for name, value in given.items() if value is not None}
    return LossInputs(**picked | {"logprobs": picked["logprobs"].requires_grad_()})


# --- the engine's mismatch ------------------------------------------------------------------------------------

BOUNDED = {
    "token_truncate": [[0.5, 1.0, 2.0], [1.0, 2.0, 1.0]],  # ratios 0.25, 1 (unknown), 4 and 1, 2, masked; bounds 0.5, 2
    "token_mask": [[0.0, 1.0, 0.0], [1.0, 2.0, 1.0]],
    "sequence_truncate": [[1.0], [2.0]],
    "sequence_mask": [[1.0], [2.0]],
}


@pytest.mark.parametrize("mode", BOUNDED)
def test_the_correction_by_hand(mode: Correction) -> None:
    ratios = torch.tensor([[0.25, math.nan, 4.0], [1.0, 2.0, 1e9]], dtype=torch.float64)
    logprobs = torch.full((2, 3), -1.0, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    close(importance_sampling_correction(logprobs, logprobs - ratios.log(), mask, mode, 0.5, 2.0), BOUNDED[mode])
    whole = importance_sampling_correction(logprobs, logprobs - ratios.log(), mask, mode, None, None)
    close(whole[0], [0.25, 1.0, 4.0] if mode.startswith("token") else [1.0])


def test_the_correction_weighs_the_policy_and_not_the_kl() -> None:
    half, quarter = [[math.log(1 / 2)] * 2] * 2, [[math.log(1 / 4)] * 2] * 2
    inputs = Case(half, half, quarter, [[1, 1], [1, 1]], [1, 1], [1, 1], 0.04, 0.2, 0.2).inputs()
    out = grpo_loss(dataclasses.replace(inputs, correction=torch.tensor([[0.0], [3.0]], dtype=torch.float64)))
    close(out.loss.detach(), (0 + -3) / 2 + 0.04 * K3)


# --- advantages -----------------------------------------------------------------------------------------------

rewards = st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=2, max_size=8)


def test_advantages_by_hand() -> None:
    assert group_advantages([2, 2, 1, 0]) == pytest.approx([0.7832, 0.7832, -0.2611, -1.3054], abs=1e-4)
    assert group_advantages([2, 2, 1, 0], scale="none") == (0.75, 0.75, -0.25, -1.25)
    assert group_advantages([1, 0], eps=0.0) == pytest.approx([0.5**0.5, -(0.5**0.5)])
    assert group_advantages([3.0]) == (0.0,)
    assert group_advantages([]) == ()


@given(rewards, st.sampled_from(["group", "none"]))
def test_advantages_equal_numpy(totals: list[float], scale) -> None:
    values = np.array(totals)
    spread = values.std(ddof=1) + 1e-4 if scale == "group" else 1.0
    # Near-equal rewards: what is left of them after the mean is rounding, which 1e-4 magnifies.
    assert group_advantages(totals, scale) == pytest.approx((values - values.mean()) / spread, rel=1e-7, abs=1e-9)


@given(st.floats(-10, 10), st.integers(1, 8), st.sampled_from(["group", "none"]))
def test_equal_rewards_teach_exactly_nothing(total: float, g: int, scale) -> None:
    assert group_advantages([total] * g, scale) == (0.0,) * g
