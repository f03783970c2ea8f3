"""Actions of `data` on built sets."""

from __future__ import annotations

from typing import Any


def add_actions(action: Any) -> None:
    """Add them."""
