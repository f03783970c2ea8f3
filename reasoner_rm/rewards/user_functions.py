"""Reward functions and scorers from a user's file, named as ``path/to/file.py:function``."""

from __future__ import annotations

import inspect
import math
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward
from reasoner_rm.utils.user_code import load_from_file

UNBOUNDED = (-math.inf, math.inf)


def load_reward(name: str) -> Reward:
    """The reward that a file defines: a :class:`Reward`, or a function ``(group, parsed, context, *, …) -> list``.

    A function's ``range`` attribute, (low, high), is checked on every value; without one, values must be finite.

    Raises:
        InputError: no such file or function, a file that does not run, a function with other arguments.
    """
    function = load_function(name)
    if isinstance(function, Reward):
        return function
    positional = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if len(positional) != 3:
        remedy = "write def name(group, parsed, context, *, parameter=1.0) -> list of a value per completion"
        raise InputError(f"{name} takes {len(positional)} arguments instead of 3", remedy=remedy)
    return Reward(name, getattr(function, "range", UNBOUNDED), function, custom_parser=True)


def load_function(name: str) -> Any:
    """The function, or :class:`Reward`, of that name in a file.

    Raises:
        InputError: no such file or function, a file that does not run.
    """
    loaded = load_from_file(name)
    if not callable(loaded) and not isinstance(loaded, Reward):
        file, _, attribute = name.rpartition(":")
        raise InputError(f"it defines no function {attribute!r}", file=file)
    return loaded
