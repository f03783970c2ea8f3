"""The interface of a reward: a pure function of a group with a name, a declared range and parameters."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from reasoner_rm.errors import InputError
from reasoner_rm.schema import SpanReward

Values: TypeAlias = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class RewardOutput:
    """The result of a reward for a group of G completions.

    Attributes:
        values: [G], within the reward's range; None where a completion could not be scored.
        spans: [G] lists of span rewards, which are added to the advantages of their tokens; empty: none.
        metrics: [G] values by name; their means are training metrics, the values go to the rollout log.
    """

    values: Values
    spans: Sequence[Sequence[SpanReward]] = ()
    metrics: Mapping[str, Values] = field(default_factory=dict)


Result: TypeAlias = Values | RewardOutput
RewardFunction: TypeAlias = Callable[..., Result | Awaitable[Result]]
"""``(group, parsed, context, *, parameters)`` to an output or its values; plain function or coroutine function."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A named component. ``score`` returns G values within ``range``; None means that it could not be scored.

    It never raises on a model's text and never rewards an unreadable answer.

    Attributes:
        custom_parser: it parses the text by rules of its own, as a reproduced release does, so that it may reward an
            answer that the task cannot parse.
        required_scorers: names of the scorers that it calls, which must be in the context.
    """

    name: str
    range: tuple[float, float]
    score: RewardFunction
    needs_listener: bool = False
    custom_parser: bool = False
    required_scorers: tuple[str, ...] = ()

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.score.__doc__ or "")

    @property
    def source(self) -> str:
        """The docstring's ``Source:`` paragraph on one line."""
        match = re.search(r"^Source: (.*?)(?=^\w+:|^\s*$|\Z)", self.doc, flags=re.MULTILINE | re.DOTALL)
        return " ".join(match[1].split()) if match else ""

    @property
    def params(self) -> dict[str, Any]:
        """The parameters with their defaults."""
        parameters = _signature(self.score).values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def with_params(self, params: Mapping[str, Any]) -> Reward:
        """The same reward with these parameters bound.

        Raises:
            InputError: an unknown parameter, with the nearest known one, or a value of the wrong type.
        """
        if not params:
            return self
        hints, checked = typing.get_type_hints(self.score, include_extras=True), {}
        for name, value in params.items():
            if name not in self.params:
                near = difflib.get_close_matches(name, self.params, 1)
                remedy = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(self.params) or 'none'}"
                raise InputError(f"reward {self.name} has no parameter {name!r}", remedy=remedy)
            try:
                checked[name] = TypeAdapter(hints.get(name, Any)).validate_python(value)
            except ValidationError as error:
                problem = error.errors()[0]["msg"].lower()
                remedy = f"its default is {self.params[name]!r}"
                raise InputError(f"reward {self.name}, {name}: {problem}, got {value!r:.60}", remedy=remedy) from None
        scorer = functools.partial(self.score, **checked)
        functools.update_wrapper(scorer, self.score)
        return dataclasses.replace(self, score=scorer)


def _signature(score: RewardFunction) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(score).parameters
