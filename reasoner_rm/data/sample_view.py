"""The parts of a sample that are displayed: prompt, candidates, gold; for the terminal and for pages."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.schema import PAIRWISE_TASKS, MediaRef, Sample, VideoRef
from reasoner_rm.tasks.render import HIDDEN_CAPTION

WIDTH = 100
"""The width in a terminal, in characters."""
LONGEST = 4000
"""The most characters of a text; longer ones are cut."""

_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which a terminal would interpret."""


@dataclass(frozen=True, slots=True)
class Item:
    """One displayed item. ``right`` is True for the better candidate or a correct step, False for the other, None where
    nothing is compared."""

    label: str
    ref: MediaRef | None = None
    text: str = ""
    right: bool | None = None
    frames: tuple[str, ...] = ()
    boxes: tuple[tuple[tuple[float, ...], str], ...] = ()


@dataclass(frozen=True, slots=True)
class SampleView:
    """``prompt`` is the text before, in and after the phrase that ``meta.span`` marks; the latter two may be empty.
    ``hidden`` is the caption that raters were not shown."""

    id: str
    badges: tuple[str, ...]
    prompt: tuple[str, str, str]
    items: tuple[Item, ...]
    gold: str
    hidden: str
    thinking: str
    answer: str


def view_sample(sample: Sample) -> SampleView:
    """The view of a sample. It never raises on malformed gold or meta; what cannot be read is left out."""
    thinking, found, answer = (sample.target or "").partition("</think>")
    if not found:
        thinking, answer = "", thinking
    return SampleView(
        id=sample.id,
        badges=tuple(_badges(sample)),
        prompt=_marked(sample.prompt, sample.meta.get("span")),
        items=tuple(_items(sample)),
        gold=_gold(sample.gold),
        hidden=str(sample.meta.get(HIDDEN_CAPTION, "")),
        thinking=thinking.replace("<think>", "").strip(),
        answer=answer.replace("<answer>", "").replace("</answer>", "").strip(),
    )


def in_text(sample: Sample) -> str:
    """The view as text for a terminal."""
    made = view_sample(sample)
    before, phrase, after = made.prompt
    lines = [_UNSEEN.sub("�", f"── {made.id}  [{'] ['.join(made.badges)}]")]
    lines += _row("prompt", before + (f"»{phrase}«" if phrase else "") + after)
    lines += _row("unseen", made.hidden)
    for item in made.items:
        mark = {True: " ✓", False: " ✗", None: ""}[item.right]
        shown = item.text or (item.ref if isinstance(item.ref, str) else "(in memory)")
        lines += _row(item.label.lower(), shown + mark)
    lines += _row("gold", made.gold) + _row("think", made.thinking) + _row("answer", made.answer)
    return "\n".join(lines)


def _row(name: str, text: str) -> list[str]:
    if not text:
        return []
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … ({len(text):,} characters)"
    text = _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)
    return textwrap.wrap(text, WIDTH, initial_indent=f"   {name:9} ", subsequent_indent=" " * 13)


def _badges(sample: Sample) -> list[str]:
    known = [sample.task.replace("_", " ")]
    if "difficulty" in sample.meta:
        known.append(f"level {sample.meta['difficulty']}")
    if what := sample.gold.get("type") or sample.meta.get("corruption") or sample.meta.get("skill"):
        known.append(str(what))
    return known


def _marked(prompt: str, span: Any) -> tuple[str, str, str]:
    match span:
        case [int() as start, int() as end] if 0 <= start < end <= len(prompt):
            return prompt[:start], prompt[start:end], prompt[end:]
    return prompt, "", ""


def _items(sample: Sample) -> list[Item]:
    kind = PAIRWISE_TASKS.get(sample.task)
    best = _best(sample.gold) if kind else None
    items = []
    for media, noun in (("images", "Image"), ("videos", "Video"), ("responses", "Answer")):
        entries = getattr(sample, media)
        compared = kind is not None and kind.media == media
        shared = kind.shared if kind and compared else 0
        for i, entry in enumerate(entries):
            number = i - shared
            label = "Source" if number < 0 else f"{noun} {number + 1}" if compared or len(entries) > 1 else noun
            right = None if not compared or number < 0 or best is None else number == best
            if media == "responses":
                steps = sample.gold.get("steps")
                if isinstance(steps, list) and i < len(steps):
                    label, right = f"Step {i + 1}", bool(steps[i])
                items.append(Item(label, text=entry, right=right))
            elif media == "videos":
                items.append(Item(label, entry, right=right, frames=_frames(entry)))
            else:
                items.append(Item(label, entry, right=right, boxes=_boxes(sample.gold) if i == 0 else ()))
    return items


def _frames(ref: VideoRef) -> tuple[str, ...]:
    """The frames of a video: listed, or those of a folder of images, by name."""
    if isinstance(ref, tuple):
        return tuple(frame for frame in ref if isinstance(frame, str))
    folder = Path(ref) if isinstance(ref, str) else None
    if folder is None or not folder.is_dir():
        return ()
    return tuple(str(f) for f in sorted(folder.iterdir()) if f.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))


def _best(gold: Mapping[str, Any]) -> int | None:
    """The index of the better of two candidates; None for a tie or without gold."""
    match gold:
        case {"p_first": int() | float() as p} if p != 0.5:
            return int(p < 0.5)
        case {"ranks": [int() | float() as one, int() | float() as two]} if one != two:
            return int(two < one)
    return None


def _boxes(gold: Mapping[str, Any]) -> tuple[tuple[tuple[float, ...], str], ...]:
    found = []
    for box in gold.get("boxes", ()) if isinstance(gold.get("boxes"), list) else ():
        match box:
            case {"bbox_2d": [int() | float(), int() | float(), int() | float(), int() | float()] as corners}:
                found.append((tuple(corners), str(box.get("label", ""))))
    return tuple(found)


def _gold(gold: Mapping[str, Any]) -> str:
    """Gold as text, as far as the items and boxes do not show it."""
    match gold:
        case {"p_first": int() | float() as p} if 0 <= p <= 1:
            return "a tie" if p == 0.5 else f"{p:.0%} prefer the first"
        case {"ranks": ranks}:
            return f"ranks {ranks}"
        case {"score": score}:
            return f"score {score:.4g}" if isinstance(score, float) else f"score {score}"
        case {"original": original, "changed": changed}:
            return f"“{changed}” should be “{original}”"
        case {"boxes": list() as boxes}:
            return f"{len(boxes)} box{'es' if len(boxes) != 1 else ''}"
        case {"steps": steps}:
            return f"steps {steps}"
        case {"answer": answer}:
            return str(answer)
    return ", ".join(f"{k} {v}" for k, v in gold.items())
