"""A rollout engine of this process as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reasoner_rm.client.teacher import TeacherRequest
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout.base import GenerationRequest, RolloutEngine, SamplingParams


@dataclass(frozen=True, slots=True)
class EngineTeacher:
    """See `client.teacher.Teacher`. ``model`` is the name or path that is recorded with each answer.

    Without a ``box_converter`` boxes are kept as the engine writes them.
    """

    engine: RolloutEngine
    model: str
    sampling: SamplingParams
    box_converter: BoxConverter | None = None
    batch_size: int = 64
    parallel: ClassVar[int] = 1  # an engine is used from one thread

    @property
    def plan(self) -> dict[str, Any]:
        sampled = {"temperature": self.sampling.temperature, "max_tokens": self.sampling.max_tokens}
        return {"model": self.model, "engine": type(self.engine).__name__, **sampled}

    def answers(self, requests: Sequence[TeacherRequest]) -> list[str]:
        generation = [GenerationRequest(request.prompt, (request.seed,)) for request in requests]
        texts = [group[0].text for group in self.engine.generate(generation, self.sampling)]
        if self.box_converter is None:
            return texts
        return [self.box_converter.text_to_original(t, r.sample) for t, r in zip(texts, requests, strict=True)]
