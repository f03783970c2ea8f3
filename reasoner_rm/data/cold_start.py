"""Reasoning for a cold start, distilled from a teacher: its answers to this project's prompts, where they are right.

A trace is kept when it is well formed and its verdict is the label's. The prompt is the one that the student will be
trained with, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reasoner_rm.data.chat import encoded
from reasoner_rm.data.costs import OutOfBudget
from reasoner_rm.data.journal import Journal, work_through
from reasoner_rm.data.seeding import stable_seed
from reasoner_rm.data.streams import stream
from reasoner_rm.data.teacher import Teacher
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template, render

WRONG = {"wrong": "the teacher's verdict is not the label's", "malformed": "the teacher's answer is not well formed"}


@dataclass(frozen=True, slots=True)
class Distilled:
    """What one sample's tries came to: the kept turn, or why there is none."""

    turn: str | None
    why_not: str = ""


def distil(
    file: Path,
    journal_file: Path,
    teacher: Teacher,
    *,
    template: str = "default",
    tries: int = 1,
    seed: int = 0,
    parallel: int = 8,
) -> Iterator[Sample | str]:
    """Each sample with the teacher's reasoning as its target, in the file's order; in place of the others a reason.

    Work goes on where a killed or unpaid run stopped: a sample asked is never asked again.

    Raises:
        InputError: the endpoint fails, or the journal is of another run.
    """
    plan = {"model": teacher.model, "template": load_text(file, template), "tries": tries, "seed": seed,
            "temperature": teacher.temperature, "max_tokens": teacher.max_tokens}  # fmt: skip
    journal = Journal(journal_file, plan)
    spent = ""
    try:
        items = ((sample.id, sample) for _, sample in stream(file))
        work_through(items, journal, lambda sample: _asked(sample, teacher, template, tries, seed), parallel)
    except OutOfBudget as end:
        spent = str(end)
    finally:
        journal.close()
    for _, sample in stream(file):
        entry = journal.done.get(sample.id)
        if entry is None:
            yield f"not asked: {spent}"
        elif entry["turn"] is None:
            yield entry["why_not"]
        else:
            yield replace(sample, target=entry["turn"], meta={**sample.meta, "teacher": teacher.model})


def load_text(file: Path, template: str) -> dict[str, str]:
    """The prompts' wording, by task of the file's first sample: another wording is another run."""
    sample = next((sample for _, sample in stream(file)), None)
    return {} if sample is None else {sample.task: load_template(sample.task, template).hash}


def _asked(sample: Sample, teacher: Teacher, template: str, tries: int, seed: int) -> dict[str, Any]:
    prompt = render(sample, load_template(sample.task, template))
    parts = zip(prompt.content, prompt.is_image, strict=True)
    content = [encoded(part) if image else str(part) for part, image in parts]
    why = ""
    for attempt in range(tries):
        text = teacher.ask(content, seed=stable_seed("distil", seed, sample.id, attempt))
        found = judged(sample, text)
        if found.turn is not None:
            return {"turn": found.turn, "tries": attempt + 1}
        why = found.why_not
    return {"turn": None, "why_not": why}


def judged(sample: Sample, text: str) -> Distilled:
    """The teacher's turn, if it is well formed and right; a tie cannot be told from a wrong verdict, so it is wrong."""
    task = get_task(sample.task)
    parsed = task.parse(text, sample)
    if not parsed.well_formed or parsed.answer is None:
        return Distilled(None, WRONG["malformed"])
    if task.correct(parsed.answer, sample) != 1.0:
        return Distilled(None, WRONG["wrong"])
    return Distilled(text.strip())
