"""Asking a model behind any OpenAI-compatible endpoint: retries, a budget, and an account of what it cost."""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef

RETRIES = 5
MAX_WAIT = 30.0
"""Seconds between two tries at most."""
KEY = "OPENAI_API_KEY"


class OutOfBudget(Exception):  # noqa: N818  # it is an end, no error
    """What was set aside is spent: what was made so far is kept, and the same command with more goes on."""


@dataclass(slots=True)
class Cost:
    """Tokens used so far and what they cost. Prices are in dollars for a million tokens."""

    input_price: float = 0.0
    output_price: float = 0.0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def dollars(self) -> float:
        return (self.input_tokens * self.input_price + self.output_tokens * self.output_price) / 1e6

    def __str__(self) -> str:
        used = f"{self.requests} requests, {self.input_tokens} tokens in, {self.output_tokens} out"
        return used + (f", ${self.dollars:.2f}" if self.input_price or self.output_price else "")


@dataclass(slots=True)
class Endpoint:
    """A chat endpoint. The key comes from the environment (OPENAI_API_KEY), never from a file of the project.

    Attributes:
        url: up to and including `/v1`.
        budget: dollars; None: no limit. It is checked before each request, so the last ones may pass it a little.
    """

    url: str
    model: str
    temperature: float = 0.7
    max_tokens: int = 1024
    timeout: float = 120.0
    budget: float | None = None
    cost: Cost = field(default_factory=Cost)
    _lock: Any = field(default_factory=threading.Lock)

    def ask(self, content: Sequence[str | bytes], seed: int = 0) -> str:
        """The answer to one user turn of texts and encoded images.

        Raises:
            OutOfBudget: nothing is left to spend.
            InputError: the endpoint cannot be reached, refuses, or answers what is no completion.
        """
        import httpx

        with self._lock:
            if self.budget is not None and self.cost.dollars >= self.budget:
                raise OutOfBudget(f"the budget of ${self.budget:g} is spent ({self.cost})")
        body = {
            "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "seed": seed % 2**31,
            "messages": [{"role": "user", "content": [_part(part) for part in content]}],
        }  # fmt: skip
        key = os.environ.get(KEY, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        wait = 0.5
        for left in reversed(range(RETRIES)):
            try:
                answer = httpx.post(
                    f"{self.url.rstrip('/')}/chat/completions", json=body, headers=headers, timeout=self.timeout
                )
                if answer.status_code == 429 or answer.status_code >= 500:
                    raise _TryAgain(f"it answers {answer.status_code}", _retry_after(answer.headers))
                return self._read(answer)
            except (httpx.TransportError, _TryAgain) as error:
                if not left:
                    remedy = "check that it runs and has room, then run the same command again"
                    raise InputError(f"{self.url}: {error or type(error).__name__}", remedy=remedy) from None
                time.sleep(min(MAX_WAIT, max(wait, getattr(error, "after", 0.0))))
                wait *= 2
            except httpx.InvalidURL as error:
                raise InputError(f"{self.url!r} is no address ({error})") from None
        raise AssertionError("unreachable")

    def _read(self, answer: Any) -> str:
        if not answer.is_success:
            what = f"{self.url} answers {answer.status_code}: {answer.text[:200]}"
            raise InputError(what, remedy=f"check --url, --model and {KEY}")
        try:
            said = answer.json()
            text = said["choices"][0]["message"]["content"]
            used = said.get("usage") or {}
        except (ValueError, KeyError, IndexError, TypeError):
            raise InputError(f"{self.url} answers no chat completion: {answer.text[:120]}") from None
        with self._lock:
            self.cost.requests += 1
            self.cost.input_tokens += int(used.get("prompt_tokens") or 0)
            self.cost.output_tokens += int(used.get("completion_tokens") or 0)
        return text if isinstance(text, str) else ""


class _TryAgain(Exception):  # noqa: N818
    def __init__(self, what: str, after: float):
        super().__init__(what)
        self.after = after


def _retry_after(headers: Any) -> float:
    try:
        return float(headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def _part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = "png" if part.startswith(b"\x89PNG") else "jpeg"
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(part).decode()}"}}


def encoded(ref: MediaRef) -> bytes:
    """An image as PNG or JPEG bytes: its own where they are of these kinds."""
    data = read_bytes(ref) if isinstance(ref, str) else ref if isinstance(ref, bytes) else b""
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return data
    out = io.BytesIO()
    open_image(ref).save(out, "PNG")
    return out.getvalue()
