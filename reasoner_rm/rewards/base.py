"""What a reward is: a pure function of a group, with a name, a declared range and parameters of its own."""

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
    """What a reward knows of a group of G completions.

    Attributes:
        values: [G], within the reward's range; None where a completion could not be scored.
        spans: [G] lists of sentence rewards, which move the advantages of their own tokens; empty: there are none.
        metrics: [G] values by name. Their means go to the training's metrics, the values to the rollout log.
    """

    values: Values
    spans: Sequence[Sequence[SpanReward]] = ()
    metrics: Mapping[str, Values] = field(default_factory=dict)


Result: TypeAlias = Values | RewardOutput
Scorer: TypeAlias = Callable[..., Result | Awaitable[Result]]
"""``(group, parsed, context, *, its parameters)`` to an output, or to its values alone, at once or awaited."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A named component. ``score`` returns G values within ``range``; None means that it could not be scored.

    It never raises on a model's text and never pays for an answer that it could not read.

    Attributes:
        custom_parser: it parses the text by the rules of the code that it reproduces, or looks at something other than
            the answer, so that it may pay what the task cannot parse.
        required_scorers: names of the scorers that the context has to bring.
    """

    name: str
    range: tuple[float, float]
    score: Scorer
    needs_listener: bool = False
    custom_parser: bool = False
    required_scorers: tuple[str, ...] = ()

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.score.__doc__ or "")

    @property
    def source(self) -> str:
        """Where it comes from: the docstring's ``Source:`` paragraph on one line."""
        found = re.search(r"^Source: (.*?)(?=^\w+:|^\s*$|\Z)", self.doc, flags=re.MULTILINE | re.DOTALL)
        return " ".join(found[1].split()) if found else ""

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters with their defaults."""
        every = _signature(self.score).values()
        return {p.name: p.default for p in every if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def with_params(self, params: Mapping[str, Any]) -> Reward:
        """The same reward with parameters of the user's.

        Raises:
            InputError: one that it does not have, with the nearest that it has, or a value of the wrong kind.
        """
        if not params:
            return self
        hints, checked = typing.get_type_hints(self.score, include_extras=True), {}
        for name, value in params.items():
            if name not in self.params:
                near = difflib.get_close_matches(name, self.params, 1)
                known = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(self.params) or 'none'}"
                raise InputError(f"reward {self.name} has no parameter {name!r}", remedy=known)
            try:
                checked[name] = TypeAdapter(hints.get(name, Any)).validate_python(value)
            except ValidationError as error:
                problem = error.errors()[0]["msg"].lower()
                remedy = f"it is {self.params[name]!r} unless stated"
                raise InputError(f"reward {self.name}, {name}: {problem}, got {value!r:.60}", remedy=remedy) from None
        scorer = functools.partial(self.score, **checked)
        functools.update_wrapper(scorer, self.score)
        return dataclasses.replace(self, score=scorer)


def _signature(score: Scorer) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(score).parameters
