"""Every reward by name. A new one is a new file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.accuracy import ACCURACY, HARD
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.format import FORMAT
from reasoner_rm.rewards.length import LENGTH
from reasoner_rm.rewards.listener_belief import LISTENER
from reasoner_rm.rewards.model_based import MODEL_BASED
from reasoner_rm.rewards.penalties import PENALTIES
from reasoner_rm.rewards.sentence import SENTENCE
from reasoner_rm.rewards.unified_think import UNIFIED_THINK
from reasoner_rm.rewards.user_functions import load_reward
from reasoner_rm.rewards.vicrit import VICRIT
from reasoner_rm.rewards.vision_r1 import VISION_R1
from reasoner_rm.rewards.vlm_r1 import VLM_R1
from reasoner_rm.rewards.vlm_r1_released import VLM_R1_RELEASED
from reasoner_rm.utils.user_code import is_in_file

_ALL = (
    FORMAT, ACCURACY, HARD, *LISTENER, *UNIFIED_THINK, *VICRIT, *VISION_R1, *VLM_R1, *VLM_R1_RELEASED, *LENGTH,
    *MODEL_BASED, *SENTENCE, *PENALTIES,
)  # fmt: skip
REWARDS: dict[str, Reward] = {reward.name: reward for reward in _ALL}


def get_reward(name: str) -> Reward:
    """The component of that name, or the user's own function ``path/to/file.py:function``.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if is_in_file(name):
        return load_reward(name)
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    return REWARDS[name]


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones."""
    near = difflib.get_close_matches(name, known, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return InputError(f"unknown {what} {name!r}", remedy=remedy)
