"""The messages of OpenAI's chat form as a prompt: a caption with images, which the judge's template renders, or a
complete prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner_rm.judge.judge import Judge
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.schemas import Message, Part
from reasoner_rm.tasks.escape import JOINER, check_text
from reasoner_rm.tasks.render import Prompt, render

IMAGE_COUNTS = {
    "image_preference": 2,
    "edit_preference": 3,
    "pointwise": 1,
    "caption_critic": 1,
    "grounding": 1,
    "detection": 1,
}
"""Images of a caption's message by task. Prompts of other tasks have more than a caption and are sent complete."""
_CONTROL = re.compile(r"<(?=\|[^|<>\\\s]{1,40}\|>)")


def prompt_of(
    messages: Sequence[Message], judge: Judge, decoder: ImageDecoder, slot: RequestSlot, complete: bool
) -> Prompt:
    """The prompt of a chat. One user message of one text, and as many images as the judge's task has, is a caption with
    its images, which the judge's template renders. All else is a complete prompt: texts and images in their order,
    system messages before the user's.

    Args:
        complete: whatever the messages are, they are a complete prompt.

    Raises:
        ApiError, InputError: a conversation, no text, invalid images, unusable text.
    """
    parts = _turn(messages)
    media = iter(decoder.images([part.image_url.url for part in parts if part.image_url is not None], slot))
    content = [part.text or "" if part.image_url is None else next(media) for part in parts]
    is_image = tuple(part.image_url is not None for part in parts)
    if not complete and len(messages) == 1 and _is_caption(parts, judge.config.task):
        (caption,) = (part.text or "" for part in parts if part.image_url is None)
        images = tuple(ref for ref, image in zip(content, is_image, strict=True) if image)
        return render(Sample("chat", judge.config.task, caption.strip(), images=images), judge.config.template)
    return Prompt(tuple(ref if image else _escape(ref) for ref, image in zip(content, is_image, strict=True)), is_image)


def _turn(messages: Sequence[Message]) -> list[Part]:
    """The parts of all messages as one user turn.

    Raises:
        ApiError: an answer among them, no user's message, or no text.
    """
    roles = [message.role for message in messages]
    if not {"user"} <= set(roles) <= {"system", "developer", "user"}:
        what = f"a judge answers one user turn, the messages are of {', '.join(roles)[:80]}"
        raise ApiError(400, what, param="messages")
    parts: list[Part] = []
    for message in sorted(messages, key=lambda message: message.role == "user"):  # system messages first
        parts += [Part(type="text", text="\n\n")] if parts else []
        parts += message.content
    if not any((part.text or "").strip() for part in parts):
        raise ApiError(400, "the messages have no text", param="messages")
    return parts


def _is_caption(parts: Sequence[Part], task: str) -> bool:
    images = sum(part.image_url is not None for part in parts)
    return images == IMAGE_COUNTS.get(task) and len(parts) == images + 1


def _escape(text: MediaRef) -> str:
    """The text with control tokens escaped; those that the renderer escaped already are unchanged."""
    check_text(str(text), "chat")
    return _CONTROL.sub("<" + JOINER, str(text))
