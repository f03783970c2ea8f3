"""The examples in docstrings of the pure packages are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pytest

import reasoner_rm.rewards
import reasoner_rm.tasks
from reasoner_rm.training import advantages


def modules(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("name", [*modules(reasoner_rm.rewards), *modules(reasoner_rm.tasks), advantages.__name__])
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
