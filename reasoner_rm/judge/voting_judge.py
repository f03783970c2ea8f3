"""What scoring and analysis need of a judge: votes on samples, and what its engine believes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import Sample, Verdict
from reasoner_rm.serving.shared_engine import SharedEngine
from reasoner_rm.tasks.render import Template


class VotingJudge(Protocol):
    """A judge whose votes are read; see :class:`reasoner_rm.judge.Judge`."""

    engine: SharedEngine

    def supports(self, task: str) -> bool: ...

    def template(self, task: str) -> Template: ...

    def ballots(self, samples: Sequence[Sample], votes: int = 1) -> list[list[Vote]]: ...

    def verdicts(self, samples: Sequence[Sample], votes: int = 1) -> list[Verdict]: ...
