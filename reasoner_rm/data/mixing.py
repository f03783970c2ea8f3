"""Several sets as one: sampled by weight, capped by source, in an order that depends on the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reasoner_rm.data.jsonl_ops import stream
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Part:
    """A file and its weight: its share of the mix, relative to the other weights."""

    file: Path
    weight: float = 1.0


def parts_of(texts: Sequence[str]) -> list[Part]:
    """Parts from `FILE` or `FILE=WEIGHT`.

    Raises:
        InputError: a weight that is no number above 0.
    """
    found = []
    for text in texts:
        name, mark, weight = text.rpartition("=")
        if not mark or Path(text).exists():
            name, weight = text, "1"
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(f"the weight of {name} is {weight!r}", remedy="give FILE=WEIGHT with a number above 0")
        found.append(Part(Path(name), value))
    return found


def shares(parts: Sequence[Part], there: Sequence[int], n: int | None, cap: int | None) -> list[int]:
    """How many samples of each part to take.

    Without ``n`` as many as the weights allow before the first part is exhausted. A part with fewer samples than its
    share is taken whole, and the rest is divided among the others by their weights.
    """
    most = [min(count, cap) if cap is not None else count for count in there]
    if n is None:
        unit = min(m / p.weight for m, p in zip(most, parts, strict=True))
        return [min(m, round(unit * p.weight)) for m, p in zip(most, parts, strict=True)]
    taken, open_parts, left = [0] * len(parts), set(range(len(parts))), min(n, sum(most))
    while left and open_parts:
        whole = sum(parts[i].weight for i in open_parts)
        full = {i for i in open_parts if most[i] <= left * parts[i].weight / whole}
        if not full:
            exact = {i: left * parts[i].weight / whole for i in open_parts}
            for i in open_parts:
                taken[i] = int(exact[i])
            rest = left - sum(taken[i] for i in open_parts)
            for i in sorted(open_parts, key=lambda i: (taken[i] - exact[i], i))[:rest]:
                taken[i] += 1
            break
        for i in full:
            taken[i] = most[i]
        left -= sum(most[i] for i in full)
        open_parts -= full
    return taken


def mix(parts: Sequence[Part], n: int | None, cap: int | None, seed: int) -> Iterator[Sample | str]:
    """The sampled rows, the parts interleaved at random; in place of each other row a reason.

    Memory holds one integer per sampled row. Ids that occur in two parts are prefixed with the part's number.
    """
    there = [sum(1 for _ in stream(part.file)) for part in parts]
    taken = shares(parts, there, n, cap)
    rng = random.Random(f"mix/{seed}")
    drawn = [_drawn(part.file, count, take, rng) for part, count, take in zip(parts, there, taken, strict=True)]
    turns = [i for i, take in enumerate(taken) for _ in range(take)]
    rng.shuffle(turns)
    several = len(parts) > 1
    for turn in turns:
        sample = next(drawn[turn])
        yield replace(sample, id=f"{turn}/{sample.id}", group_id=sample.group_id) if several else sample
    for part, count, take in zip(parts, there, taken, strict=True):
        for _ in range(count - take):
            yield f"not drawn from {part.file.name}"


def _drawn(file: Path, there: int, take: int, rng: random.Random) -> Iterator[Sample]:
    wanted = iter(sorted(rng.sample(range(there), take)))
    following = next(wanted, None)
    for i, (_, sample) in enumerate(stream(file)):
        if i == following:
            yield sample
            following = next(wanted, None)
