"""Numbers and names in the words of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reasoner_rm.schema import PAIRWISE_TASKS

STAGES = {"cold_start": "cold start", "rejection_sampling": "rejection sampling", "grpo": "GRPO"}
"""The stages' names in prose, in the order in which they run."""

SPLITS = {"heldout": "held-out", "ood": "out of distribution"}

DATA = {
    "cold_start": "worked examples", "train": "training prompts", "sft": "rows for SFT",
    "rl": "rows for RL", "heldout": "held-out", "ood": "out of distribution",
}  # fmt: skip

SPACE = "\u00a0"
MISSING = "–"

CHARACTERS = 4000
"""What is kept of a longer text: its beginning and its end."""


def place(name: str, known: Iterable[str]) -> tuple[int, str]:
    """A sort key: known names in their order, others after them."""
    order = list(known)
    return (order.index(name) if name in order else len(order), name)


def stage_order(stage: str) -> tuple[int, str]:
    """A sort key: stages as they run."""
    return place(stage, STAGES)


def stage_name(stage: str) -> str:
    """
    >>> stage_name("grpo"), stage_name("head")
    ('GRPO', 'head')
    """
    return STAGES.get(stage, stage.replace("_", " ") or "unnamed stage")


def split_name(split: str) -> str:
    return SPLITS.get(split, split)


def measure(task: str) -> str:
    """What a task's correctness is called.

    >>> measure("detection"), measure("qa")
    ('F1', 'accuracy')
    """
    return "F1" if task == "detection" else "accuracy"


def artifact_name(task: str) -> str:
    """What a run makes."""
    return "judge" if task in PAIRWISE_TASKS or not task else "model"


def capital(text: str) -> str:
    """With its first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def data_name(part: str) -> str:
    return DATA.get(part, part.replace("_", " "))


def percent(share: float | None, digits: int = 1) -> str:
    """A share with its sign: 0.7815 is 78.2 %."""
    return MISSING if share is None else f"{100 * share:.{digits}f}{SPACE}%"


def round_percent(share: float) -> str:
    """A share without digits that say nothing: 0.5 is 50 %."""
    return f"{round(100 * share, 1):g}{SPACE}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, without its sign."""
    return f"{100 * abs(difference):.1f}{SPACE}points"


def figure(value: float | None) -> str:
    """A number at a readable precision."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.2f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def signed(value: float | None) -> str:
    """A number with its sign: the minus is a real one."""
    if value is None:
        return MISSING
    return ("+" if value > 0 else "−" if value < 0 else "±") + figure(abs(value))


def format_int(number: float | None) -> str:
    """A whole number with thousands separated."""
    return MISSING if number is None else f"{number:,.0f}"


def duration(seconds: float | None) -> str:
    """
    >>> duration(612.3).replace(SPACE, " "), duration(8.25).replace(SPACE, " ")
    ('10 min 12 s', '8.2 s')
    """
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min" if hours else f"{minutes}{SPACE}min {rest}{SPACE}s"


def memory(megabytes: float | None) -> str:
    """Megabytes as gigabytes where that reads better."""
    if megabytes is None:
        return MISSING
    return f"{megabytes / 1000:.1f}{SPACE}GB" if megabytes >= 1000 else f"{megabytes:.0f}{SPACE}MB"


def clip(text: str, limit: int = CHARACTERS) -> str:
    """The beginning and the end of a long text, with how much is left out between them."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n[… {format_int(len(text) - head - tail)} characters left out …]\n{text[-tail:]}"
