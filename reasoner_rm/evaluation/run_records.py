"""A scored vote as a line of `evaluations/*.jsonl`: enough to show it, and to score it again without a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from reasoner_rm.evaluation.answer_metrics import task_vote_score
from reasoner_rm.evaluation.box_metrics import predicted_boxes
from reasoner_rm.evaluation.listener_metrics import chosen_option
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.evaluation.verdict_parsers import parse_completion
from reasoner_rm.sampling.votes import in_order
from reasoner_rm.schema import Sample, VideoRef
from reasoner_rm.serialization import sample_to_dict
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.boxes import Boxes


def record(
    sample: Sample, item: AnsweredItem, prediction: Prediction, protocol: Protocol, folder: Path | None = None
) -> dict[str, Any]:
    """The sample's own fields as a data file has them, in the order shown (no target; media held in memory are left
    out, paths are relative to ``folder``), and with them:

    - ``by``: its facets (corruption, skill, difficulty)
    - ``order``: `given` or `swapped`
    - ``text``, ``finish_reason``: the whole completion; ``thinking``, ``answer``: what was parsed out of it, None when
      unreadable; ``well_formed``, ``parse_error``
    - ``options``: what could be chosen; ``preferred``: the index that was, None otherwise
    - ``correct``: 0..1, None on a tie
    - ``listener``, ``confidence``: the probabilities that the listener and the judge itself give the options after the
      reasoning, None where either was not asked
    - ``boxes``: those predicted, in original pixels (detection, grounding)
    """
    shown, parsed = in_order(sample, prediction.order), item.parse(prediction, parse_completion)
    score = task_vote_score(item, prediction, protocol)
    return sample_to_dict(_on_disk(shown), folder) | {
        "by": facets(shown),
        "order": prediction.order,
        "text": prediction.text,
        "finish_reason": prediction.finish,
        "thinking": parsed.thinking,
        "answer": parsed.answer,
        "well_formed": parsed.well_formed,
        "parse_error": parsed.parse_error,
        "options": list(get_task(shown.task).options(shown)),
        "preferred": chosen_option(item, prediction),
        "correct": None if score is None else round(score, 4),
        "listener": _rounded(prediction.listener),
        "confidence": _rounded(prediction.confidence),
        "boxes": _boxes(None if score is None else predicted_boxes(item, prediction, protocol)),
    }


def _on_disk(sample: Sample) -> Sample:
    """The sample without its target, and without what is held in memory."""
    return dataclasses.replace(
        sample,
        target=None,
        images=tuple(image for image in sample.images if isinstance(image, str)),
        videos=tuple(video for video in sample.videos if _is_named(video)),
    )


def _is_named(video: VideoRef) -> bool:
    """Whether a video is a folder or a list of files."""
    return all(isinstance(frame, str) for frame in video) if isinstance(video, tuple) else isinstance(video, str)


def _rounded(probs: tuple[float, ...] | None) -> list[float] | None:
    return None if probs is None else [round(p, 5) for p in probs]


def _boxes(boxes: Boxes | None) -> list[dict[str, Any]] | None:
    if boxes is None:
        return None
    corners = boxes.xyxy.round(2).tolist()
    return [{"bbox_2d": box, "label": label} for box, label in zip(corners, boxes.labels, strict=True)]
