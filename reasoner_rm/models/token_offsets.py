"""Character offsets of a completion's tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def token_ends(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[int]:
    """The end of each token in characters of the text. A character split over several tokens ends with the last.

    For byte-level tokenizers (all Qwen models), whose tokens have one symbol per byte, added tokens excepted. A stop
    token after the text ends where the text ends.
    """
    added = tokenizer.get_added_vocab()
    pieces = tokenizer.convert_ids_to_tokens(list(token_ids))
    sizes = [len(piece.encode()) if piece in added else len(piece) for piece in pieces]
    characters = [i for i, c in enumerate(text) for _ in range(len(c.encode("utf-8", "surrogatepass")))]
    complete = [0, *((a if a == b else a + 1) for a, b in itertools.pairwise([*characters, len(text)]))]
    return [complete[min(at, len(characters))] for at in itertools.accumulate(sizes)]
