"""The tasks, by name. A new task is a new file, its template file, and one line here."""

from __future__ import annotations

import difflib

from reasoner_rm.errors import InputError
from reasoner_rm.tasks.base import Task
from reasoner_rm.tasks.box_task import Detection, Grounding
from reasoner_rm.tasks.caption_critic import CaptionCritic
from reasoner_rm.tasks.pointwise import Pointwise
from reasoner_rm.tasks.preference import EditPreference, ImagePreference, ResponsePreference, VideoPreference
from reasoner_rm.tasks.qa import Qa
from reasoner_rm.tasks.step_critique import StepCritique

_ALL: tuple[Task, ...] = (
    ImagePreference(),
    VideoPreference(),
    ResponsePreference(),
    EditPreference(),
    Pointwise(),
    Qa(),
    CaptionCritic(),
    Detection(),
    Grounding(),
    StepCritique(),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(TASKS)}"
        raise InputError(f"unknown task {name!r}", remedy=hint)
    return TASKS[name]


__all__ = ["TASKS", "Task", "get_task"]
