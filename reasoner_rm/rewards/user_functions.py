"""Functions of the user's own, named as ``path/to/file.py:function``."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import math
import sys
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward

ANY = (-math.inf, math.inf)


def is_user_function(name: str) -> bool:
    """Whether a name points at a function in a file."""
    return ".py:" in name


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


@functools.cache
def load_function(name: str) -> Any:
    """What stands behind ``path/to/file.py:function``.

    Raises:
        InputError: no such file or function, a file that does not run.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError("no such file", file=path, remedy="name a function as path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(f"reasoner_rm_own_{abs(hash(path.resolve()))}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses and pickles of the file find it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"it does not run: {type(error).__name__}: {error}", file=path) from error
    found = getattr(module, attribute, None)
    if not callable(found) and not isinstance(found, Reward):
        raise InputError(f"it defines no function {attribute!r}", file=path)
    return found
