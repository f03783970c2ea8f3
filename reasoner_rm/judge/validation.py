"""Checks of what a judge is asked, before the model runs."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


def check_captions(captions: Sequence[str], *images: int) -> None:
    """Each list of images needs one caption per image.

    Raises:
        InputError: unequal lengths, or one text, whose letters would be taken for captions.
    """
    if isinstance(captions, str):
        raise InputError("captions is a single text", remedy="give a list, one caption for each image")
    if any(n != len(captions) for n in images):
        raise InputError(f"{len(captions)} captions for {' and '.join(map(str, images))} images")


def check_candidates(sample: Sample) -> None:
    """A comparison needs a pairwise task and exactly two candidates.

    Raises:
        InputError: another task, or another number of candidates.
    """
    candidates = PAIRWISE_TASKS.get(sample.task)
    if candidates is None:
        what = f"sample {sample.id!r} is of task {sample.task}, which compares nothing"
        raise InputError(what, remedy=f"use {', '.join(PAIRWISE_TASKS)}")
    count = len(getattr(sample, candidates.media)) - candidates.shared
    if count != 2:
        what = f"sample {sample.id!r} has {max(count, 0)} candidates, a judge compares 2"
        raise InputError(what, remedy="rank() takes more" if count > 2 else f"give two {candidates.media}")


def check_samples(samples: Sequence[Sample]) -> None:
    """One call asks samples of one task, whose prompts are text.

    Raises:
        InputError: a prompt of another type, or several tasks.
    """
    for sample in samples:
        if not isinstance(sample.prompt, str):
            raise InputError(f"the prompt of sample {sample.id!r} is {type(sample.prompt).__name__}, not text")
    tasks = {sample.task for sample in samples}
    if len(tasks) > 1:
        raise InputError(f"samples of several tasks: {', '.join(sorted(tasks))}", remedy="make one call per task")


def sampling_temperature(votes: int, temperature: float | None) -> float:
    """The temperature that votes are sampled at: unless given, 0 for a single vote and 1 for several.

    Raises:
        InputError: fewer than one vote.
    """
    if not isinstance(votes, int) or votes < 1:
        raise InputError(f"votes is {votes}", remedy="ask for at least one")
    if temperature is None:
        return 0.0 if votes == 1 else 1.0
    return temperature
