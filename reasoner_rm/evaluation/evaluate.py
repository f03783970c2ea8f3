"""One evaluator: ask in both orders, let the listener read along, count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.data.images import open_image
from reasoner_rm.evaluation.metrics import Figures, Judged, figures, judged
from reasoner_rm.judge.ballots import cast
from reasoner_rm.listener import Listener
from reasoner_rm.rollout import RolloutEngine, Sampling
from reasoner_rm.schema import Belief, MediaRef, Sample
from reasoner_rm.tasks.render import Template
from reasoner_rm.tasks.video import frames


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures and every judged ballot behind them, one row per sample."""

    figures: Figures
    rows: tuple[tuple[Judged, ...], ...]

    def records(self) -> Iterator[dict[str, Any]]:
        """A plain object per ballot, for `evaluations/*.jsonl`."""
        for row in self.rows:
            for j in row:
                sample, belief = j.ballot.sample, j.belief
                yield {
                    "id": sample.id,
                    "task": sample.task,
                    "prompt": sample.prompt,
                    "images": [i for i in sample.images if isinstance(i, str)],
                    "gold": sample.gold.get("p_first", sample.gold.get("answer", sample.gold.get("score"))),
                    "order": j.ballot.order,
                    "text": j.ballot.completion.text,
                    "preferred": j.ballot.choice,
                    "correct": None if j.correct is None else j.correct == 1.0,
                    "listener": list(belief.probs) if belief else None,
                }


def evaluate(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    *,
    listener: Listener | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Evaluation:
    """Greedy verdicts on every sample in both orders, with what the listener believes after each reasoning."""
    ballots = cast(engine, template, samples, sampling=Sampling(0.0, max_tokens), seed=seed)
    shown = [b for row in ballots for b in row]
    beliefs: list[Belief | None] = [None] * len(shown)
    if listener is not None:
        heard = listener.beliefs([b.sample for b in shown], [[b.completion.text] for b in shown])
        beliefs = [row[0] for row in heard]
    said = iter(beliefs)
    rows = tuple(tuple(judged(b, next(said)) for b in row) for row in ballots)
    return Evaluation(figures(rows, seed), rows)


def blinded(samples: Sequence[Sample]) -> list[Sample]:
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
