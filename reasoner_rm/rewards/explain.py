"""The scores of one text: every component, the parsed text, and the parse error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reasoner_rm.rewards.aggregate import weighted_sum
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.registry import REWARDS
from reasoner_rm.rewards.scoring import score_groups
from reasoner_rm.rewards.spec import PRESETS, parse_spec, weights
from reasoner_rm.schema import Completion, Group, ParsedCompletion, RewardContext, Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks import get_task


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """A scored text. ``total`` is None where no component could be scored; ``metrics`` are the rewards' own."""

    rewards: Mapping[str, Reward]
    components: Mapping[str, float | None]
    total: float | None
    parsed: ParsedCompletion
    metrics: Mapping[str, float | None]

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        for name, value in self.components.items():
            low, high = self.rewards[name].range
            reason = "needs a listener" if self.rewards[name].needs_listener else "the gold does not decide it"
            text = f"{value:.4f}" if value is not None else "none"
            yield f"{name:22} {text:>8}  " + (f"[{low:g}, {high:g}]" if value is not None else reason)
        yield f"{'total':22} {'none' if self.total is None else f'{self.total:.4f}':>8}"
        yield f"well formed: {'yes' if self.parsed.well_formed else f'no, {self.parsed.parse_error}'}"
        yield f"answer:      {_short(self.parsed.answer)}"
        yield f"thinking:    {_short(self.parsed.thinking)}"
        for name, value in self.metrics.items():
            yield f"metric {name}: {'none' if value is None else f'{value:.4f}'}"

    def as_json(self) -> dict[str, Any]:
        parsed = dataclasses.asdict(self.parsed)
        return {
            "components": dict(self.components),
            "total": self.total,
            "parsed": parsed,
            "metrics": dict(self.metrics),
        }


def explain(
    name: str,
    text: str,
    sample: Sample | Mapping[str, Any],
    context: RewardContext | None = None,
    params: Mapping[str, Any] | None = None,
) -> RewardBreakdown:
    """Score one text with a component, a preset, or a user's function.

    Raises:
        InputError: an unknown name or parameter, a sample that its task cannot use, a scorer that is missing.
    """
    row = sample if isinstance(sample, Sample) else sample_from_dict(sample)
    task = get_task(row.task)
    task.validate(row)
    mixture, context = parse_spec(name, params), context or RewardContext()
    parsed = task.parse(text, row)
    group = Group(row, (Completion(text, (), (), "stop"),))
    outputs = score_groups(mixture, [(group, [parsed], context)])[0]
    components = {name: tuple(output.values) for name, output in outputs.items()}
    metrics = {key: values[0] for output in outputs.values() for key, values in output.metrics.items()}
    scored = any(values[0] is not None for values in components.values())
    total = weighted_sum(weights(mixture, context.step), components)[0] if scored else None
    rewards = {name: term.reward for name, term in mixture.items()}
    return RewardBreakdown(rewards, {n: values[0] for n, values in components.items()}, total, parsed, metrics)


def list_rewards() -> Iterator[str]:
    """Every reward's name, range, parameters, first sentence and source, then the presets."""
    for reward in REWARDS.values():
        low, high = reward.range
        yield f"{reward.name}  [{low:g}, {high:g}]"
        yield f"    {' '.join(reward.doc.partition(chr(10) * 2)[0].split())}"
        if reward.params:
            yield "    parameters: " + ", ".join(f"{name}={value!r}" for name, value in reward.params.items())
        yield f"    source: {reward.source}"
    for name in PRESETS:
        yield f"{name}  preset: " + " + ".join(f"{weight:g} {n}" for n, weight in weights(parse_spec(name)).items())


def _short(text: str | None, limit: int = 300) -> str:
    if text is None:
        return "none could be read"
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"
