"""reasoner-rm: vision-language models that reason before they judge."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_rm.data.io import load_samples
    from reasoner_rm.errors import InputError
    from reasoner_rm.judge import Judge
    from reasoner_rm.schema import Completion, Group, Sample, Verdict

__version__ = "0.1.0"
_HOME = {
    "Judge": "judge",
    "load_samples": "data.io",
    "InputError": "errors",
    **dict.fromkeys(("Completion", "Group", "Sample", "Verdict"), "schema"),
}
__all__ = ["Completion", "Group", "InputError", "Judge", "Sample", "Verdict", "load_samples"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import reasoner_rm` and `--help` are fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'reasoner_rm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"reasoner_rm.{_HOME[name]}"), name)
