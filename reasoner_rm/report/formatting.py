"""Numbers, names and gold labels as text for a report."""

from __future__ import annotations

import math
from collections.abc import Iterable

from reasoner_rm.data.sample_view import view_sample
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import get_task

STAGE_NAMES = {"cold_start": "cold start", "rejection_sampling": "rejection sampling", "grpo": "GRPO"}
"""The stages' names in prose, in the order in which they run."""

SPLIT_NAMES = {"heldout": "held-out", "ood": "out of distribution"}

DATA_NAMES = {
    "cold_start": "cold-start examples", "train": "training prompts", "sft": "rows for SFT",
    "rl": "rows for RL", "heldout": "held-out samples", "ood": "out-of-distribution samples",
}  # fmt: skip

SPACE = "\u00a0"
MISSING = "–"

MAX_CHARACTERS = 4000
"""A longer text is cut in the middle to this length."""


def order_key(name: str, order: Iterable[str]) -> tuple[int, str]:
    """A sort key: names in ``order`` by their position there, all others after them by name."""
    names = list(order)
    return (names.index(name) if name in names else len(names), name)


def stage_order(stage: str) -> tuple[int, str]:
    """A sort key: stages in the order in which they run."""
    return order_key(stage, STAGE_NAMES)


def split_order(split: str) -> tuple[int, str]:
    """A sort key: held-out first, then out of distribution."""
    return order_key(split, SPLIT_NAMES)


def stage_name(stage: str) -> str:
    """
    >>> stage_name("grpo"), stage_name("head")
    ('GRPO', 'head')
    """
    return STAGE_NAMES.get(stage, stage.replace("_", " ") or "unnamed stage")


def split_name(split: str) -> str:
    return SPLIT_NAMES.get(split, split)


def data_name(part: str) -> str:
    return DATA_NAMES.get(part, part.replace("_", " "))


def metric_name(task: str) -> str:
    """The name of a task's main metric.

    >>> metric_name("detection"), metric_name("qa")
    ('F1', 'accuracy')
    """
    return "F1" if task == "detection" else "accuracy"


def artifact_name(task: str) -> str:
    """What a run trains: a judge for preference tasks, else a model."""
    return "judge" if task in PAIRWISE_TASKS or not task else "model"


def gold_text(sample: Sample) -> str:
    """The gold label as text. A comparison's verdict carries the share of votes unless they are unanimous."""
    if sample.task not in PAIRWISE_TASKS:
        return view_sample(sample).gold
    task = get_task(sample.task)
    verdict = task.reference_answer(sample)
    share = max(task.gold_probs(sample) or (1.0,))
    return "a tie" if verdict is None else verdict if share == 1 else f"{verdict} ({percent(share, 0)})"


def capitalize_first(text: str) -> str:
    """The text with its first letter in upper case, the others unchanged."""
    return text[:1].upper() + text[1:]


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage: 0.7815 is 78.2 %."""
    return MISSING if share is None else f"{100 * share:.{digits}f}{SPACE}%"


def round_percent(share: float) -> str:
    """A percentage without trailing zeros: 0.5 is 50 %."""
    return f"{round(100 * share, 1):g}{SPACE}%"


def percentage_points(difference: float) -> str:
    """The size of a difference of two shares, in percentage points."""
    return f"{100 * abs(difference):.1f}{SPACE}points"


def format_number(value: float | None) -> str:
    """Two decimals, or three significant digits for very small and very large numbers."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.2f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def signed(value: float | None) -> str:
    """A number with its sign; the minus is U+2212."""
    if value is None:
        return MISSING
    return ("+" if value > 0 else "−" if value < 0 else "±") + format_number(abs(value))


def format_int(number: float | None) -> str:
    """An integer with thousands separators."""
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
    """Megabytes, or gigabytes from 1,000 MB on."""
    if megabytes is None:
        return MISSING
    return f"{megabytes / 1000:.1f}{SPACE}GB" if megabytes >= 1000 else f"{megabytes:.0f}{SPACE}MB"


def clip(text: str, limit: int = MAX_CHARACTERS) -> str:
    """The beginning and the end of a long text, with the number of characters left out between them."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n[… {format_int(len(text) - head - tail)} characters left out …]\n{text[-tail:]}"
