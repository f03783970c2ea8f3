"""What clients know about `reasoner-rm serve`: a judge has two names there, and `/v1/judge` describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OWNER = "reasoner-rm"
"""`owned_by` of its models."""
RAW = ":raw"
"""NAME is asked with a caption and images, which it renders, or with a complete prompt; ``NAME:raw`` with a complete
prompt only."""


def complete_prompt_name(models: Sequence[Mapping[str, Any]], wanted: str) -> str:
    """The model to ask with complete prompts: of a judge's server the raw one, of other servers the wanted one.

    Args:
        models: as the server lists them.
        wanted: may be empty on a judge's server, which serves one judge.
    """
    raw = [str(m["id"]) for m in models if m.get("owned_by") == OWNER and str(m["id"]).endswith(RAW)]
    return raw[0] if len(raw) == 1 and wanted in ("", raw[0].removesuffix(RAW)) else wanted
