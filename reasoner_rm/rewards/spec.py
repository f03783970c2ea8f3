"""Reward specifications: presets by paper, and a configuration's components with weights and parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.registry import REWARDS, get_reward, unknown
from reasoner_rm.utils.user_code import is_in_file, short_name

Setting: TypeAlias = "float | Sequence[tuple[float, float]] | Mapping[str, Any]"
"""A weight, points (step, weight) of one, or ``{weight: …}`` (default 1) with the reward's parameters."""

_VISION_R1: dict[str, Setting] = {"dual_format": 1.0, "box_recall": 1.0, "box_precision": 1.0}

PRESETS: dict[str, dict[str, Setting]] = {
    "listener": {"format": 1.0, "accuracy": 0.5, "listener_belief": 0.5},
    "unified_think": {"format": {"mode": "prefix"}, "accuracy": {"exact": True}},
    "r1_reward": {"format": 0.5, "accuracy": 1.0, "consistency": {"weight": 0.5, "gate": "accuracy"}},
    "vicrit_rl": {"vicrit": 0.9, "format": 0.1},
    "vision_r1": _VISION_R1,
    "vision_r1_det": _VISION_R1,
    "vision_r1_det_released": {
        "dual_format_released": 1.0,
        "box_recall": {"overlap": "giou", "released": True, "beginner": (0.5, 0.0, 1.0)},
        "box_precision": {
            "over": "matched",
            "overlap": "giou",
            "released": True,
            "beginner": (0.0, 0.0, 1.0),
        },
    },
    "hard": {"hard_format_result": 1.0},
    "vlm_r1_rec": {"format": 1.0, "rec_iou": 1.0},
    "vlm_r1_ovd": {"format": 1.0, "od_length": 1.0},
    "mocha": {"fidelity": 0.5, "adequacy": 0.5},
    "fact_rlhf": {"judged": {"facts": "facts"}, "accuracy": 1.0, "length_penalty": 1.0, "no_eos": 1.0},
    "ui_genie": {"format": 1.0, "yes_no": 1.0},
}
"""Specifications by paper. The weights of ``fact_rlhf``, ``mocha`` and ``ui_genie`` are this project's."""


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """A reward with bound parameters and its weight schedule: points (step, weight), linear between them."""

    reward: Reward
    points: tuple[tuple[float, float], ...]

    def weight(self, step: float) -> float:
        """The weight at an optimiser step.

        >>> WeightedReward(REWARDS["format"], ((0, 1.0), (100, 0.0))).weight(25)
        0.75
        """
        after = next((i for i, (at, _) in enumerate(self.points) if at > step), len(self.points))
        if after in (0, len(self.points)):
            return self.points[min(after, len(self.points) - 1)][1]
        (x, a), (y, b) = self.points[after - 1 : after + 1]
        return a + (b - a) * (step - x) / (y - x)


Mixture: TypeAlias = Mapping[str, WeightedReward]


def parse_spec(spec: str | Mapping[str, Setting], params: Mapping[str, Any] | None = None) -> dict[str, WeightedReward]:
    """The weighted rewards of a preset, of one component, or of a mapping of components and presets to settings.

    A preset in a mapping adds its components, their weights multiplied by its own. A user's own function is named by
    its file without the folder: `own.py:brevity`.

    Args:
        params: parameters, each passed to the components that have it.

    Raises:
        InputError: an unknown name or parameter, an invalid weight, a component given twice.
    """
    terms: dict[str, WeightedReward] = {}
    for name, setting in ({spec: 1.0} if isinstance(spec, str) else spec).items():
        points, bound = _parse_setting(name, setting)
        for component, term in _terms(name, points, {**bound, **(params or {})}).items():
            if component in terms:
                raise InputError(f"reward {component} is given twice", remedy="name it once")
            terms[component] = term
    if not terms:
        raise InputError("no reward is given", remedy=f"name a preset: {', '.join(PRESETS)}")
    return terms


def weights(mixture: Mixture, step: float = 0) -> dict[str, float]:
    """The components' weights at a step."""
    return {name: term.weight(step) for name, term in mixture.items()}


def _terms(name: str, points: tuple[tuple[float, float], ...], params: Mapping[str, Any]) -> dict[str, WeightedReward]:
    if name not in PRESETS:
        if name not in REWARDS and not is_in_file(name):
            raise unknown("reward", name, [*PRESETS, *REWARDS])
        return {short_name(name): WeightedReward(get_reward(name).with_params(params), points)}
    terms = {}
    for component, setting in PRESETS[name].items():
        base, preset_params = _parse_setting(component, setting)
        accepted = get_reward(component).params
        bound = preset_params | {key: value for key, value in params.items() if key in accepted}
        scaled = tuple((step, base[0][1] * weight) for step, weight in points)
        terms[component] = WeightedReward(get_reward(component).with_params(bound), scaled)
    accepted_by_any = {key for component in terms for key in get_reward(component).params}
    for key in params:
        if key not in accepted_by_any:
            raise unknown(f"parameter of {name}:", key, sorted(accepted_by_any))
    return terms


def _parse_setting(name: str, setting: Setting) -> tuple[tuple[tuple[float, float], ...], dict[str, Any]]:
    """Points and parameters of a setting."""
    params = dict(setting) if isinstance(setting, Mapping) else {"weight": setting}
    return _points(name, params.pop("weight", 1.0)), params


def _points(name: str, weight: object) -> tuple[tuple[float, float], ...]:
    match weight:
        case bool():
            pass
        case int() | float() if math.isfinite(weight):
            return ((0.0, float(weight)),)
        case [_, *_] if isinstance(weight, Sequence) and all(map(_is_point, weight)):
            points = tuple((float(step), float(value)) for step, value in weight)
            if all(a[0] < b[0] for a, b in itertools.pairwise(points)):
                return points
    remedy = "give a number, or points [[step, weight], …] with increasing steps"
    raise InputError(f"the weight of {name} is {weight!r:.60}", remedy=remedy)


def _is_point(point: object) -> bool:
    match point:
        case [int() | float() as step, int() | float() as value]:
            return math.isfinite(step) and math.isfinite(value)
    return False
