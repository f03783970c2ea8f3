"""A judged ballot as a line of `evaluations/*.jsonl`: enough to show it, and to count it again without a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from reasoner_rm.evaluation.scored_vote import ScoredVote
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.schema import Belief, Sample, VideoRef
from reasoner_rm.serialization import sample_to_dict
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.boxes import Boxes


def record(judged: ScoredVote, folder: Path | None = None) -> dict[str, Any]:
    """The sample's own fields as a data file has them, in the order in which they were shown (no target; media held in
    memory are left out, paths are relative to ``folder``), and beside them:

    - ``by``: its facets (corruption, skill, difficulty)
    - ``order``: `given` or `swapped`
    - ``text``, ``finish_reason``: the completion, whole; ``thinking``, ``answer``: what was read out of it, None when
      unreadable; ``well_formed``, ``parse_error``
    - ``options``: what could be chosen; ``preferred``: the index that was, None otherwise
    - ``correct``: 0..1, None on a tie
    - ``listener``, ``confidence``: the probabilities that the listener and the judge itself give the options after the
      reasoning, None where either was not asked
    - ``boxes``: those found, in original pixels (detection, grounding)
    """
    ballot = judged.ballot
    sample, parsed = ballot.sample, ballot.parsed
    return sample_to_dict(_on_disk(sample), folder) | {
        "by": facets(sample),
        "order": ballot.order,
        "text": ballot.completion.text,
        "finish_reason": ballot.completion.finish_reason,
        "thinking": parsed.thinking,
        "answer": parsed.answer,
        "well_formed": parsed.well_formed,
        "parse_error": parsed.parse_error,
        "options": list(get_task(sample.task).options(sample)),
        "preferred": ballot.choice,
        "correct": None if judged.correct is None else round(judged.correct, 4),
        "listener": _probs(judged.belief),
        "confidence": _probs(judged.confidence),
        "boxes": _boxes(judged.boxes),
    }


def _on_disk(sample: Sample) -> Sample:
    """The sample without its target, and without what is held in memory."""
    return dataclasses.replace(
        sample,
        target=None,
        images=tuple(i for i in sample.images if isinstance(i, str)),
        videos=tuple(v for v in sample.videos if _named(v)),
    )


def _named(video: VideoRef) -> bool:
    """Whether a video is a folder or a list of files."""
    return all(isinstance(frame, str) for frame in video) if isinstance(video, tuple) else isinstance(video, str)


def _probs(belief: Belief | None) -> list[float] | None:
    return None if belief is None else [round(p, 5) for p in belief.probs]


def _boxes(boxes: Boxes | None) -> list[dict[str, Any]] | None:
    if boxes is None:
        return None
    corners = boxes.xyxy.round(2).tolist()
    return [{"bbox_2d": box, "label": label} for box, label in zip(corners, boxes.labels, strict=True)]
