"""One error in a caption by a language model; its answer must pass the checks of `verify`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_recipes.vicrit.verify import verify
from data_recipes.vicrit.word_groups import TYPES
from reasoner_rm.client.budget import OutOfBudget
from reasoner_rm.client.teacher import EndpointTeacher
from reasoner_rm.data.media import Media
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.utils.journal import Journal, work_through
from reasoner_rm.utils.seeding import stable_seed

ASK = """Here is a caption that describes an image truthfully:

{caption}

Change exactly one short phrase of it so that it states something the image does not show.
The mistake is to be of this kind: {type}.
- The new phrase must be as plausible as the old one and fit the grammar (plurals, articles).
- It must contradict the old one: no synonym, no broader or narrower word, nothing that might also be true.
- Change nothing else, not even punctuation, and keep the phrase short: at most four words.
- If the caption says nothing of this kind, choose another phrase that you can change in this way.

Answer with one JSON object and nothing else: {{"original": "the phrase as it stands", "changed": "the new phrase"}}"""


def inject_by_model(
    file: Path, journal_file: Path, model: EndpointTeacher, *, image: str = "image", caption: str = "caption",
    tries: int = 3, seed: int = 0,
) -> Iterator[Sample | str]:  # fmt: skip
    """Samples from a table of images and captions, in its order; in place of the others a reason.

    The types alternate, so that they are balanced. A run that was killed or out of budget is resumed.

    Raises:
        InputError: a bad row, a failing endpoint.
    """
    plan = {"model": model.model, "ask": ASK, "tries": tries, "seed": seed}
    journal = Journal.of_plan(journal_file, plan, _check_entry)
    media = Media(file.parent, journal_file.parent / "images")
    spent = ""
    try:
        items = ((f"vicrit-{n}", (n, text)) for n, text, _ in _captions(file, media, image, caption))
        ask = functools.partial(_asked, model=model, tries=tries, seed=seed)
        work_through(items, journal, lambda some: [ask(*item) for item in some], model.parallel)
    except OutOfBudget as end:
        spent = str(end)
    finally:
        journal.close()
    for n, text, ref in _captions(file, media, image, caption):
        entry = journal.done.get(f"vicrit-{n}")
        if entry is None:
            yield f"not asked: {spent}"
        elif "original" not in entry:
            yield f"refused: {entry['parse_error']}"
        else:
            gold = {key: entry[key] for key in ("original", "changed", "type")}
            at = text.find(entry["original"])
            changed = text[:at] + entry["changed"] + text[at + len(entry["original"]) :]
            span = [at, at + len(entry["changed"])]
            meta = {"span": span, "by": model.model}
            yield Sample(f"vicrit-{n}", "caption_critic", changed, (ref,), gold=gold, source="vicrit", meta=meta)


def _check_entry(entry: Mapping[str, Any]) -> None:
    """Raise KeyError where a journal's entry holds neither an error in a caption nor why there is none."""
    for key in ("original", "changed", "type") if "original" in entry else ("parse_error",):
        entry[key]


def _captions(file: Path, media: Media, image: str, caption: str) -> Iterator[tuple[int, str, str]]:
    for n, (line, row) in enumerate(rows(file)):
        try:
            if isinstance(row, InputError):
                raise row
            text = row.get(caption)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"empty {caption}", remedy="fill it in or remove the row")
            yield n, text, media.image(row.get(image))
        except InputError as error:
            raise InputError(str(error), file=file, line=line) from None


def _asked(n: int, caption: str, model: EndpointTeacher, tries: int, seed: int) -> dict[str, Any]:
    kind, why = TYPES[n % len(TYPES)], ""
    for attempt in range(tries):
        text = model.ask([ASK.format(caption=caption, type=kind)], seed=stable_seed("vicrit", seed, n, attempt))
        try:
            return {**accepted(caption, text, kind), "tries": attempt + 1}
        except InputError as error:
            why = str(error)
    return {"parse_error": re.sub(r"['\"].*?['\"]", "…", why).partition(":")[0], "type": kind}


def accepted(caption: str, text: str, kind: str) -> dict[str, str]:
    """The change in a model's answer, if it is exactly one error.

    Raises:
        InputError: no JSON, a phrase that occurs nowhere or twice, or a change that `verify` refuses.
    """
    found = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        response = json.loads(found[0]) if found else None
    except ValueError:
        response = None
    match response:
        case {"original": str() as original, "changed": str() as changed}:
            pass
        case _:
            raise InputError("the answer is no JSON object with original and changed")
    if caption.count(original) != 1:
        raise InputError("the phrase does not occur exactly once in the caption")
    verify(caption, caption.replace(original, changed), original, changed, kind)
    return {"original": original, "changed": changed, "type": kind}
