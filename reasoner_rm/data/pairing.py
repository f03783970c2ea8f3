"""Comparisons whose candidate order is drawn by seed.

Most datasets list the better candidate first; without random order a judge would learn the position.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reasoner_rm.candidate_labels import swap_labels, swappable
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.seeding import stable_seed

FIXED_ORDER = "fixed_order"
"""The field of ``meta`` of a comparison that is in the source's order because its target cannot be relabelled."""


def pair(
    row: DatasetRow,
    task: str,
    prompt: str,
    candidates: Sequence[Any],
    p_first: float,
    *,
    part: str = "",
    shared: Sequence[Any] = (),
    images: Sequence[Any] = (),
    videos: Sequence[Any] = (),
    target: str | None = None,
    weight: float = 1.0,
    group: str = "",
    order: Sequence[int] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Sample:
    """Two candidates as a sample, with a random order, recorded in ``meta.order``.

    Args:
        p_first: the source's probability that ``candidates[0]`` is better, 0..1; 0.5 is a tie.
        part: distinguishes several samples of one row.
        shared: the first items of the candidates' field (the source image of an edit).
        images, videos: of both candidates.
        target: an assistant turn in the source's order; its labels are swapped with the candidates. One that refers to
            a candidate in another way keeps the source's order (`meta.fixed_order`).
        group: samples of one source prompt; by default those with the same prompt text.
        order: a fixed one, for a set that states its own.
        meta: further fields; None values are left out.
    """
    if len(candidates) != 2:
        raise InputError(f"{len(candidates)} candidates where 2 are due", remedy="correct or remove the row")
    kind = PAIRWISE_TASKS[task]
    name = f"{row.name}-{part}" if part else row.name
    shown = list(order) if order is not None else [[0, 1], [1, 0]][stable_seed("order", row.seed, name) & 1]
    fixed = order is None and target is not None and not swappable(target, kind.noun)
    if fixed:
        shown = [0, 1]  # exchanged, the reasoning would be about the other candidate than the verdict
    swapped = shown[0] == 1
    media: dict[str, Any] = {"images": tuple(images), "videos": tuple(videos)}
    media[kind.media] = (*shared, *(candidates[k] for k in shown))
    return Sample(
        id=name,
        task=task,
        prompt=prompt,
        target=swap_labels(target, kind.noun) if target is not None and swapped else target,
        gold={"p_first": 1 - p_first if swapped else p_first},
        weight=weight,
        group_id=group or prompt_group(prompt),
        source=row.source,
        meta={
            k: v
            for k, v in {**(meta or {}), "order": shown, FIXED_ORDER: True if fixed else None}.items()
            if v is not None
        },
        **media,
    )


def ranking(
    row: DatasetRow, task: str, prompt: str, candidates: Sequence[Any], ranks: Sequence[float], **more: Any
) -> Iterator[Sample]:
    """Every pair of K ranked candidates (1 = best; equal ranks tie), in one group."""
    if len(ranks) != len(candidates):
        raise InputError(f"{len(candidates)} candidates but {len(ranks)} ranks", remedy="correct or remove the row")
    more.setdefault("group", prompt_group(prompt))
    meta = more.pop("meta", {})
    for i, j in itertools.combinations(range(len(candidates)), 2):
        p = 0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j])
        part = f"{i}-{j}" if len(candidates) > 2 else ""
        own = {**meta, "source_ranks": [ranks[i], ranks[j]], "places": [i, j]}
        yield pair(row, task, prompt, (candidates[i], candidates[j]), p, part=part, meta=own, **more)


@functools.lru_cache(maxsize=1024)
def prompt_group(prompt: str) -> str:
    """The group of all samples with this prompt, ignoring case and white space."""
    return "prompt-" + hashlib.blake2b(plain(prompt).encode(errors="backslashreplace"), digest_size=8).hexdigest()


def plain(prompt: str) -> str:
    """A prompt normalised in case and white space."""
    return " ".join(prompt.casefold().split())


def ranks_of(text: str, n: int) -> list[float]:
    """Ranks of A, B, … (1 = best) as `A>B=C` states them; a last `Good` or `Bad` only qualifies a tie.

    >>> ranks_of("B>A=C", 3), ranks_of("A=B=Good", 2)
    ([2.0, 1.0, 2.0], [1.0, 1.0])
    """
    bare = re.sub(r"=\s*(Good|Bad)\s*$", "", text.strip(), flags=re.IGNORECASE)
    names = [chr(ord("A") + i) for i in range(n)]
    found = {}
    for rank, tied in enumerate(bare.split(">"), start=1):
        for name in tied.split("="):
            found[name.strip()] = float(rank)
    if sorted(found) != names:
        raise InputError(f"the ranking {text!r:.60} does not rank {', '.join(names)}")
    return [found[name] for name in names]
