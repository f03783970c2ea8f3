"""LLaVA-Human-Preference-10K: two answers in a conversation about a COCO image, the better one by its number."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.conversation_text import number_images, turns
from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import Recipe
from reasoner_rm.data.row import DatasetRow, as_dict, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def llava_rlhf(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`output_1`, `output_2`, `preference` 1 or 2; a longer conversation becomes one question with all of its turns."""
    conversation = turns(row.items("conversations"), "conversations")
    if conversation[-1][0] != "user":
        raise InputError("the conversation does not end with a question", remedy="correct or remove the row")
    answers = [as_text(as_dict(row.value(f"output_{k}"), f"output_{k}").get("value"), f"output_{k}") for k in (1, 2)]
    p = row.one_of("preference", {1: 1.0, 2: 0.0})
    image = row.image("image")
    meta = {"hallucination": row.optional("hallucination")}
    return [pair(row, "response_preference", dialogue(conversation), answers, p, images=[image], meta=meta)]


def dialogue(conversation: list[tuple[str, str]]) -> str:
    """A conversation as one question: the bare text of a single turn, else every turn with its speaker. The places of
    images are numbered where they matter."""
    texts = number_images([text for _, text in conversation])
    if len(conversation) == 1:
        return texts[0]
    return "\n".join(f"{role.capitalize()}: {text}" for (role, _), text in zip(conversation, texts, strict=True))


LLAVA_RLHF = Recipe(
    "llava_rlhf", "LLaVA-Human-Preference-10K: 9.4k answer pairs on COCO images (arXiv 2309.14525)", llava_rlhf,
    hub="zhiqings/LLaVA-Human-Preference-10K", licence="", tables=("*.json",), splits=("train",),
)  # fmt: skip
