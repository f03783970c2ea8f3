"""One evaluator: ask in both orders, let the listener read along, count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.data.images import open_image
from reasoner_rm.evaluation.run_metrics import RunMetrics, figures
from reasoner_rm.evaluation.scored_vote import ScoredVote, judged
from reasoner_rm.evaluation.vote_rows import record
from reasoner_rm.listener import Listener
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.sampling.votes import Vote, collect_votes
from reasoner_rm.schema import Belief, MediaRef, Sample
from reasoner_rm.tasks.frames import frames
from reasoner_rm.tasks.render import Template


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures and every judged ballot behind them, one row per sample."""

    figures: RunMetrics
    rows: tuple[tuple[ScoredVote, ...], ...]

    def records(self, folder: Path | None = None) -> Iterator[dict[str, Any]]:
        """A plain object per ballot, for `evaluations/*.jsonl`; see `record`."""
        return (record(j, folder) for row in self.rows for j in row)


def evaluate(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    *,
    listener: Listener | None = None,
    own_listener: Listener | None = None,
    canvas: BoxConverter | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Evaluation:
    """Greedy answers to every sample, comparisons in both orders.

    Args:
        listener: says what it believes after each reasoning.
        own_listener: the same model that answers, as a listener: how sure it is itself.
        canvas: brings boxes to original pixels.
    """
    ballots = collect_votes(engine, template, samples, sampling=SamplingParams(0.0, max_tokens), seed=seed)
    shown = [b for row in ballots for b in row]
    said = zip(shown, _heard(listener, shown), _heard(own_listener, shown), strict=True)
    marked = iter([judged(ballot, belief, sure, canvas) for ballot, belief, sure in said])
    rows = tuple(tuple(next(marked) for _ in row) for row in ballots)
    return Evaluation(figures(rows, seed), rows)


def _heard(listener: Listener | None, ballots: Sequence[Vote]) -> list[Belief | None]:
    """What a listener believes after each ballot's reasoning."""
    if listener is None:
        return [None] * len(ballots)
    heard = listener.beliefs([b.sample for b in ballots], [[b.completion.text] for b in ballots])
    return [row[0] for row in heard]


def blank_images(samples: Sequence[Sample]) -> list[Sample]:
    """The same samples, every image and frame grey and of its own size: what can be guessed without looking."""
    return [
        dataclasses.replace(
            s,
            images=tuple(_grey(i) for i in s.images),
            videos=tuple(tuple(_grey(i) for i in frames(v)) for v in s.videos),
        )
        for s in samples
    ]


def _grey(ref: MediaRef) -> MediaRef:
    from PIL import Image

    return Image.new("RGB", open_image(ref).size, (128, 128, 128))
