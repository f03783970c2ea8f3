"""A model behind an endpoint that writes texts for data: reasoning, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reasoner_rm.data.chat import user_message
from reasoner_rm.data.endpoint import CHAT, Endpoint
from reasoner_rm.errors import InputError


@dataclass(frozen=True, slots=True)
class Teacher:
    """Asks for one text at a time; from several threads if need be."""

    endpoint: Endpoint
    temperature: float = 0.7
    max_tokens: int = 1024

    @property
    def model(self) -> str:
        return self.endpoint.model

    def ask(self, content: Sequence[str | bytes], seed: int = 0) -> str:
        """The answer to one user turn of texts and encoded images.

        Raises:
            OutOfBudget, ServiceError, InputError: as `Endpoint.post`; or the answer is no completion.
        """
        body = {
            "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "seed": seed % 2**31,
            "messages": [user_message(content)],
        }  # fmt: skip
        said = self.endpoint.post(CHAT, body)
        try:
            text = said["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise InputError(f"{self.endpoint.urls[0]} answers no chat completion: {str(said)[:120]}") from None
        return text if isinstance(text, str) else ""
