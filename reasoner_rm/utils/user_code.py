"""Code of the user's own, named as ``path/to/file.py:NAME``."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError


def is_in_file(name: str) -> bool:
    """Whether a name points into a file."""
    return ".py:" in name


def short_name(name: str) -> str:
    """The name in metrics: without the folder, as a path of one machine says nothing on another.

    >>> short_name("/home/me/own.py:brevity")
    'own.py:brevity'
    """
    file, colon, attribute = name.rpartition(":")
    return f"{Path(file).name}{colon}{attribute}" if is_in_file(name) else name


@functools.cache
def load_from_file(name: str) -> Any:
    """What a file defines under a name. A file is run once.

    Raises:
        InputError: no such file or name, or a file that does not run.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError("no such file", file=path, remedy="write path/to/file.py:NAME")
    spec = importlib.util.spec_from_file_location(f"reasoner_rm_own_{abs(hash(path.resolve()))}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses and pickles of the file find it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"it does not run: {type(error).__name__}: {error}", file=path) from error
    if not hasattr(module, attribute):
        raise InputError(f"it defines no {attribute!r}", file=path)
    return getattr(module, attribute)
