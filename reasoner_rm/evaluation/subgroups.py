"""The subgroups of an evaluation's samples: facets, and the kinds of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from reasoner_rm.schema import Sample

T = TypeVar("T")


def facets(sample: Sample) -> dict[str, str]:
    """What a sample says of its kind: what was corrupted (or the type of the error), the skill it asks for, and how
    difficult it is, each only where it is stated; or, of a benchmark's item, what ``meta.by`` states."""
    if isinstance(by := sample.meta.get("by"), Mapping):
        return {str(name): str(kind) for name, kind in by.items()}
    stated = {
        "corruption": sample.gold.get("type") or sample.meta.get("corruption"),
        "skill": sample.meta.get("skill"),
        "difficulty": sample.meta.get("difficulty"),
    }
    return {name: str(kind) for name, kind in stated.items() if isinstance(kind, (str, int)) and kind != ""}


def by_facet(items: Sequence[T], samples: Sequence[Sample]) -> dict[str, dict[str, list[T]]]:
    """Items by facet and kind, the kinds in order; ``samples`` is aligned with the items."""
    found: dict[str, dict[str, list[T]]] = {}
    for item, sample in zip(items, samples, strict=True):
        for name, kind in facets(sample).items():
            found.setdefault(name, {}).setdefault(kind, []).append(item)
    return {name: {kind: kinds[kind] for kind in sorted(kinds, key=kind_sort_key)} for name, kinds in found.items()}


def kind_sort_key(kind: str) -> tuple[float, str]:
    """A sort key for kinds: numbers by value, before words."""
    return (float(kind), "") if kind.isdecimal() else (float("inf"), kind)
