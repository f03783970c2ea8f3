"""An engine: recorded completions, by the text of their prompt."""

from collections.abc import Mapping, Sequence

from reasoner_rm.errors import InputError
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.schema import Completion


class RecordedEngine(RolloutEngine):
    """Replays recorded completions; each request takes as many as it has seeds."""

    def __init__(self, recorded: Mapping[str, Sequence[str]]):
        self.recorded = recorded

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return [self._replay(request) for request in requests]

    def _replay(self, request: GenerationRequest) -> tuple[Completion, ...]:
        parts = zip(request.prompt.content, request.prompt.is_image, strict=True)
        text = "".join(str(part) for part, is_image in parts if not is_image)
        if text not in self.recorded:
            raise InputError(f"no completion is recorded for the prompt {text[:60]!r}")
        texts = self.recorded[text][: len(request.seeds)]
        return tuple(Completion(t, (), (), "stop") for t in texts)
