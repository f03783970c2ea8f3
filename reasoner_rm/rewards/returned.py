"""What a user's reward or scorer returned, as floats: Python's numbers, NumPy's scalars and arrays, tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import Any


def as_numbers(value: Any) -> Any:
    """A float, or nested tuples of floats. Infinities are kept: a logit may be one.

    Raises:
        ValueError: something else than numbers, NaN, or an integer beyond the range of floats.

    >>> as_numbers([1, [True, 0.5]])
    (1.0, (1.0, 0.5))
    """
    value = _python(value)
    if isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:
            raise ValueError("an integer beyond the range of floats") from None
        if math.isnan(number):
            raise ValueError("NaN")
        return number
    return tuple(map(as_numbers, _items(value)))


def finite(value: Any) -> float:
    """One finite float.

    Raises:
        ValueError: something else.
    """
    number = as_numbers(value)
    if not isinstance(number, float) or math.isinf(number):
        raise ValueError("not one finite number")
    return number


def finite_values(values: Any, size: int) -> tuple[float | None, ...]:
    """One value per completion, each None or a finite float.

    Raises:
        ValueError: something else, or another number of values.
    """
    found = tuple(None if v is None else finite(v) for v in _items(_python(values)))
    if len(found) != size:
        raise ValueError(f"not {size} values")
    return found


def shown(value: Any) -> str:
    """A returned value for an error message: its beginning, on one line."""
    try:
        return " ".join(f"{value!r:.400}".split())[:200]
    except Exception as error:  # an integer of too many digits, an object whose __repr__ fails
        return f"a {type(value).__name__} that cannot be printed ({type(error).__name__})"


def _python(value: Any) -> Any:
    """NumPy's and PyTorch's scalars, arrays and tensors as Python's numbers and lists; other values unchanged."""
    return value.tolist() if hasattr(value, "tolist") else value


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise ValueError(f"{type(value).__name__} is neither a number nor a list")
    return value
