"""The judge that people plug in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner_rm.config import EngineName
from reasoner_rm.errors import InputError
from reasoner_rm.judge.ballots import Ballot, cast
from reasoner_rm.rollout import RolloutEngine, Sampling
from reasoner_rm.schema import CANDIDATES, MediaRef, Sample, Verdict, swap_labels
from reasoner_rm.tasks import get_task

if TYPE_CHECKING:
    from reasoner_rm.policy.bundle import Card


class Judge:
    """Compares images for a caption, with its reasons.

    Example:
        judge = Judge.from_pretrained("runs/pocket-digits-1")
        verdict = judge.compare("a handwritten 7", "a.png", "b.png")
        verdict.preferred, verdict.p_first, verdict.reasoning
    """

    def __init__(self, engine: RolloutEngine, card: Card, max_tokens: int = 1024):
        self.engine = engine
        self.card = card
        self.max_tokens = max_tokens

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path, engine: EngineName = "auto", *, dtype: str = "auto", max_tokens: int = 1024
    ) -> Judge:
        """Load a run, a released judge, or a plain instruction-tuned checkpoint (asked with the default template).

        Raises:
            InputError: no such model, a broken or unsupported one, an engine that is not there.
        """
        from reasoner_rm.policy.bundle import load_card
        from reasoner_rm.rollout.choose import choose, open_engine

        choose(engine)  # a wrong name shows before anything is loaded
        card = load_card(path_or_id)
        low, high = card.min_pixels, card.max_pixels
        return cls(open_engine(path_or_id, engine, dtype=dtype, min_pixels=low, max_pixels=high), card, max_tokens)

    def compare(
        self, caption: str, image_a: MediaRef | Path, image_b: MediaRef | Path, votes: int = 1, both_orders: bool = True
    ) -> Verdict:
        """Which of two images serves the caption better: ``preferred`` is 0, 1 or None.

        Args:
            image_a, image_b: a path, encoded bytes, or a PIL image.
            votes: votes per order; one is greedy and deterministic, more are sampled at temperature 1.
            both_orders: ask with the images exchanged as well, so that position cannot decide.
        """
        images = tuple(str(i) if isinstance(i, Path) else i for i in (image_a, image_b))
        sample = Sample("compare", "image_preference", caption, images=images)
        return self.verdicts([sample], votes=votes, both_orders=both_orders)[0]

    def verdicts(self, samples: Sequence[Sample], votes: int = 1, both_orders: bool = True) -> list[Verdict]:
        """Verdicts on any preference samples, in order.

        Raises:
            InputError: a sample of another task, or broken media.
        """
        if votes < 1:
            raise InputError(f"votes is {votes}", remedy="ask for at least one")
        for sample in samples:
            if sample.task not in CANDIDATES:
                raise InputError(
                    f"sample {sample.id!r} is {sample.task}, a judge compares", remedy=f"use {', '.join(CANDIDATES)}"
                )
            get_task(sample.task)
            if sample.task != self.card.task:
                raise InputError(f"sample {sample.id!r} is {sample.task}, this judge was trained for {self.card.task}")
        sampling = Sampling(0.0 if votes == 1 else 1.0, self.max_tokens)
        ballots = cast(
            self.engine, self.card.template, samples, votes=votes, both_orders=both_orders, sampling=sampling
        )
        return [count(b) for b in ballots]


def count(ballots: Sequence[Ballot]) -> Verdict:
    """Ballots of one sample into a verdict. Unreadable votes count for nobody."""
    votes = tuple(b.candidate for b in ballots)
    by_order = [_majority([b.candidate for b in ballots if b.order == order]) for order in ("given", "swapped")]
    both = any(b.order == "swapped" for b in ballots)
    preferred = _majority(votes)
    readable = [v for v in votes if v is not None]
    speaker = next((b for b in ballots if b.candidate is not None and b.candidate == preferred), ballots[0])
    reasoning = speaker.parsed.thinking or ""
    if speaker.order == "swapped":
        reasoning = swap_labels(reasoning, CANDIDATES[speaker.sample.task].noun)
    return Verdict(
        preferred=preferred,
        p_first=readable.count(0) / len(readable) if readable else None,
        reasoning=reasoning,
        consistent=by_order[0] is not None and by_order[0] == by_order[1] if both else None,
        votes=votes,
        parsed=bool(readable),
    )


def _majority(votes: Sequence[int | None]) -> int | None:
    first, second = votes.count(0), votes.count(1)
    return None if first == second else int(second > first)
