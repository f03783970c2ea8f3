"""Reasoning for a cold start, distilled from a teacher: its answers to this project's prompts, where they are right.

A trace is kept when it is well formed and its verdict is the label's. The prompt is
byte for byte the one that the student is trained with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reasoner_rm.client.budget import OutOfBudget
from reasoner_rm.client.teacher import Teacher, TeacherRequest
from reasoner_rm.data.jsonl_ops import stream
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.escape import check_text
from reasoner_rm.tasks.render import Template, load_template, render
from reasoner_rm.utils.journal import Journal, work_through
from reasoner_rm.utils.seeding import stable_seed

WRONG = {"wrong": "the teacher's verdict is not the label's", "malformed": "the teacher's answer is not well formed"}


@dataclass(frozen=True, slots=True)
class Distilled:
    """The turn that was kept for one sample, or the reason why there is none."""

    turn: str | None
    parse_error: str = ""


def distil(
    file: Path,
    journal_file: Path,
    teacher: Teacher,
    *,
    template_of: Callable[[str], Template] = load_template,
    tries: int = 1,
    seed: int = 0,
) -> Iterator[Sample | str]:
    """Each sample with the teacher's reasoning as its target, in the file's order; in place of the others a reason.

    A run that was killed, or was out of budget, is resumed: no sample is requested again that was answered.

    Args:
        journal_file: completions are kept beside this file, see :meth:`Journal.of_plan`.
        template_of: the prompt template of a task.

    Raises:
        InputError, ServiceError: the teacher fails, or a repeated id.
    """
    plan = {**teacher.plan, "template": _template_hash(file, template_of), "tries": tries, "seed": seed}
    journal = Journal.of_plan(journal_file, plan, lambda entry: entry["turn"] or entry["parse_error"])
    spent = ""
    try:
        work_through(
            _numbered(file), journal, lambda part: _entries(part, teacher, template_of, tries, seed), teacher.parallel,
            teacher.batch_size,
        )  # fmt: skip
    except OutOfBudget as end:
        spent = str(end)
    finally:
        journal.close()
    for _, sample in stream(file):
        entry = journal.done.get(sample.id)
        if entry is None:
            yield f"not requested: {spent}"
        elif entry["turn"] is None:
            yield entry["parse_error"]
        else:
            yield replace(sample, target=entry["turn"], meta={**sample.meta, "teacher": teacher.model})


def _template_hash(file: Path, template_of: Callable[[str], Template]) -> dict[str, str]:
    """The hash of the prompt template, by task of the file's first sample: another template is another run."""
    sample = next((sample for _, sample in stream(file)), None)
    return {} if sample is None else {sample.task: template_of(sample.task).hash}


def _numbered(file: Path) -> Iterator[tuple[str, Sample]]:
    """Samples by their ids, the keys of the journal."""
    seen: dict[str, int] = {}
    for line, sample in stream(file):
        if sample.id in seen:
            what = f"id {sample.id!r} is already on line {seen[sample.id]}"
            raise InputError(what, file=file, line=line, remedy="make ids unique")
        seen[sample.id] = line
        yield sample.id, sample


def _entries(
    samples: Sequence[Sample], teacher: Teacher, template_of: Callable[[str], Template], tries: int, seed: int
) -> list[dict[str, Any]]:  # fmt: skip
    """The journal's entries; a sample without a good answer is asked again, with another seed."""
    prompts = [render(sample, template_of(sample.task)) for sample in samples]
    entries: list[dict[str, Any]] = [{"turn": None, "parse_error": ""} for _ in samples]
    left = list(range(len(samples)))
    for attempt in range(tries):
        seeds = [stable_seed("distil", seed, samples[i].id, attempt) for i in left]
        requests = [TeacherRequest(samples[i], prompts[i], s) for i, s in zip(left, seeds, strict=True)]
        for i, text in zip(left, teacher.answers(requests), strict=True):
            result = check_answer(samples[i], text)
            good = result.turn is not None
            entries[i] = {
                "turn": result.turn,
                **({"tries": attempt + 1} if good else {"parse_error": result.parse_error}),
            }
        left = [i for i in left if entries[i]["turn"] is None]
        if not left:
            break
    return entries


def check_answer(sample: Sample, text: str) -> Distilled:
    """The teacher's turn, if it is well formed and right. Where the gold is a tie no verdict is right."""
    task = get_task(sample.task)
    parsed = task.parse(text, sample)
    if not parsed.well_formed or parsed.answer is None or not _usable(text):
        return Distilled(None, WRONG["malformed"])
    if task.grade(parsed.answer, sample) != 1.0:
        return Distilled(None, WRONG["wrong"])
    return Distilled(text.strip())


def _usable(text: str) -> bool:
    """Whether a text can be a target: no lone surrogates, nothing that a tokenizer reads as a control token."""
    if re.search(r"<\|[^|<>\s]{1,40}\|>", text):
        return False
    try:
        check_text(text, "")
    except InputError:
        return False
    return True
