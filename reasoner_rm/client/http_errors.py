"""A server's error answers as errors of one line with a remedy."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping

from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError

TOO_LONG = ("maximum context length", "maximum model length", "max_model_len", "context_length_exceeded", "too long")


class RequestRejected(InputError):  # noqa: N818
    """A request that the server rejects. ``param`` is the setting at fault, where the server names one."""

    def __init__(self, what: str, remedy: str, status: int, param: str):
        super().__init__(what, remedy=remedy)
        self.status, self.param = status, param


def rejection(url: str, status: int, text: str, section: EndpointSection) -> RequestRejected:
    """A 4xx answer as an error."""
    message, param = message_of(text)
    key = section.api_key_env
    if status in (401, 403):
        remedy = f"set {key} to a key that it accepts"
    elif "insufficient_quota" in text:
        remedy = "its account has nothing left"
    elif status == 404:
        remedy = "check its URL (up to /v1) and the model's name"
    elif any(phrase in message.lower() for phrase in TOO_LONG):
        remedy = "serve it with a larger --max-model-len, or lower max_completion_length or model.max_pixels"
    elif status == 413:
        remedy = "the images are too large: lower their size"
    else:
        remedy = ""  # the server's words say what is wrong
    return RequestRejected(f"{url} answers {status}: {message[:240]}", remedy, status, param)


def message_of(text: str) -> tuple[str, str]:
    """The sentence in an error body and the parameter that it names, of OpenAI's form or FastAPI's."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip(), ""
    error = body.get("error", body) if isinstance(body, dict) else {}
    match error:
        case str():
            return error, ""
        case {"message": str(message), **rest} | {"detail": str(message), **rest}:
            return message, str(rest.get("param") or "")
        case {"detail": [{"loc": [*_, name], "msg": str(message)}, *_]}:
            return f"{name}: {message}", str(name)
    return text.strip(), ""


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait (`Retry-After`), stated as a number or a date; 0 without the header."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
