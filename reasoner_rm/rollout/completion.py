"""From sampled tokens to a completion, the same for every engine that reports token ids."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.models.loading import Vlm
from reasoner_rm.schema import Completion


def to_completion(vlm: Vlm, token_ids: Sequence[int], logprobs: Sequence[float]) -> Completion:
    """The completion up to and including its first stop token; later tokens are dropped."""
    end = next((i for i, token in enumerate(token_ids) if token in vlm.stop_token_ids), None)
    length = len(token_ids) if end is None else end + 1
    text = vlm.tokenizer.decode(list(token_ids[:end]), skip_special_tokens=False)
    return Completion(text, tuple(token_ids[:length]), tuple(logprobs[:length]), "length" if end is None else "stop")


def partial_text(vlm: Vlm, token_ids: Sequence[int]) -> str:
    """The text of an unfinished completion, without stop tokens and an incomplete UTF-8 character at its end."""
    ids = [token for token in token_ids if token not in vlm.stop_token_ids]
    text: str = vlm.tokenizer.decode(ids, skip_special_tokens=False)
    return text.rstrip("\ufffd")
