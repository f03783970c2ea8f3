"""Where the tokens of a completion end in its text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def token_ends(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[int]:
    """The end of each token in characters of the text. Of a character in several tokens, the last one ends it.

    A byte-level tokenizer (that of all Qwen models) writes one sign for each byte, and its added tokens as they are.
    A stop token behind the text ends where the text does.
    """
    added = tokenizer.get_added_vocab()
    pieces = tokenizer.convert_ids_to_tokens(list(token_ids))
    sizes = [len(piece.encode()) if piece in added else len(piece) for piece in pieces]
    characters = [i for i, c in enumerate(text) for _ in range(len(c.encode("utf-8", "surrogatepass")))]
    complete = [0, *((a if a == b else a + 1) for a, b in itertools.pairwise([*characters, len(text)]))]
    return [complete[min(at, len(characters))] for at in itertools.accumulate(sizes)]
