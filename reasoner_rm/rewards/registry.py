"""The library: every reward by name. A new one is a new file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.listener_belief import LISTENER_BELIEF
from reasoner_rm.rewards.rules import ACCURACY, FORMAT
from reasoner_rm.rewards.vicrit import VICRIT
from reasoner_rm.rewards.vlm_r1 import VLM_R1

REWARDS: dict[str, Reward] = {r.name: r for r in (FORMAT, ACCURACY, LISTENER_BELIEF, *VICRIT, *VLM_R1)}


def get_reward(name: str) -> Reward:
    """The component of that name.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    return REWARDS[name]


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones."""
    near = difflib.get_close_matches(name, known, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return InputError(f"unknown {what} {name!r}", remedy=remedy)
