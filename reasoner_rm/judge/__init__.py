"""The judge API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_rm.judge.judge import Judge

__all__ = ["Judge"]


def __getattr__(name: str) -> Any:
    """Import the judge, and torch with it, on first use."""
    if name == "Judge":
        from reasoner_rm.judge.judge import Judge

        return Judge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
