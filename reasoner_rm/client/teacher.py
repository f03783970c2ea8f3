"""Teachers: models that write reasoning and errors for training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from reasoner_rm.client.messages import user_message, user_turn
from reasoner_rm.client.openai_client import CHAT, OpenAIClient
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Prompt


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """A sample, its rendered prompt, and the seed of the answer."""

    sample: Sample
    prompt: Prompt
    seed: int


class Teacher(Protocol):
    """Answers prompts: a server (`EndpointTeacher`), or a rollout engine in this process (`rollout.teacher`).

    ``model`` is its name, ``plan`` holds everything that its answers depend on. A call should have ``batch_size``
    prompts, and ``parallel`` calls may run at the same time. It raises OutOfBudget when its budget is used up. Boxes in
    its answers are in original pixels, as in samples.
    """

    @property
    def model(self) -> str: ...
    @property
    def plan(self) -> Mapping[str, Any]: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    def answers(self, requests: Sequence[TeacherRequest]) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class EndpointTeacher:
    """Requests one completion at a time from a server, also from several threads. Boxes are not converted."""

    endpoint: OpenAIClient
    temperature: float = 0.7
    max_tokens: int = 1024
    batch_size: ClassVar[int] = 1

    @property
    def model(self) -> str:
        return self.endpoint.model

    @property
    def parallel(self) -> int:
        return self.endpoint.section.concurrency

    @property
    def plan(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def answers(self, requests: Sequence[TeacherRequest]) -> list[str]:
        return [self._text(user_turn(request.prompt), request.seed) for request in requests]

    def ask(self, content: Sequence[str | bytes], seed: int = 0) -> str:
        """The answer to one user turn of texts and encoded images.

        Raises:
            OutOfBudget, ServiceError, InputError: as `OpenAIClient.post`; or the answer is no completion.
        """
        return self._text(user_message(content), seed)

    def _text(self, message: Mapping[str, Any], seed: int) -> str:
        body = {
            "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "seed": seed % 2**31,
            "messages": [message],
        }  # fmt: skip
        response = self.endpoint.post(CHAT, body)
        try:
            text = response["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise InputError(f"{self.endpoint.urls[0]} answers no chat completion: {str(response)[:120]}") from None
        return text if isinstance(text, str) else ""
