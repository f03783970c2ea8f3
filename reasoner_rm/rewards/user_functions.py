"""Functions of the user's own, named as ``path/to/file.py:function``."""

from __future__ import annotations

import inspect
import math
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward
from reasoner_rm.utils.user_code import load_from_file

ANY = (-math.inf, math.inf)


def own_reward(name: str) -> Reward:
    """The reward that a file defines: a :class:`Reward`, or a function ``(group, parsed, context, *, …) -> list``.

    A function's ``range`` attribute, (low, high), is checked on every value; without one, anything finite goes.

    Raises:
        InputError: no such file or function, a file that does not run, a function of other arguments.
    """
    found = load_function(name)
    if isinstance(found, Reward):
        return found
    positional = [p for p in inspect.signature(found).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if len(positional) != 3:
        remedy = "write def name(group, parsed, context, *, parameter=1.0) -> list of a value per completion"
        raise InputError(f"{name} takes {len(positional)} arguments instead of 3", remedy=remedy)
    return Reward(name, getattr(found, "range", ANY), found, custom_parser=True)


def load_function(name: str) -> Any:
    """The function, or :class:`Reward`, that a file defines.

    Raises:
        InputError: no such file or function, a file that does not run.
    """
    found = load_from_file(name)
    if not callable(found) and not isinstance(found, Reward):
        file, _, attribute = name.rpartition(":")
        raise InputError(f"it defines no function {attribute!r}", file=file)
    return found
