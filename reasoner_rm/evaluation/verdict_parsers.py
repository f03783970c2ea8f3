"""How published protocols parse a verdict out of a text: each exactly as its source does, errors included.

A parser of pairs gives a `PairVerdict`, or the two scores as a tuple; other parsers give what their metric counts.
"""

from __future__ import annotations

import json
import re
from enum import IntEnum
from typing import Any

from reasoner_rm.rewards.vicrit import released_answer
from reasoner_rm.rewards.vlm_r1_released import BOX
from reasoner_rm.schema import PAIRWISE_TASKS, ParsedCompletion, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.parsing import boxes, first_element


class PairVerdict(IntEnum):
    """A verdict on two candidates as they were shown. GOOD and BAD are ties that say more."""

    FIRST = 0
    SECOND = 1
    TIE = 2
    GOOD = 3
    BAD = 4

    @property
    def swapped(self) -> PairVerdict:
        """The same verdict when the candidates change places."""
        return PairVerdict(1 - self) if self < PairVerdict.TIE else self

    @property
    def is_tie(self) -> bool:
        return self >= PairVerdict.TIE


def task_answer(text: str, sample: Sample) -> Any:
    """As this project's judges are asked to answer: the last answer element of the sample's task."""
    task = get_task(sample.task)
    answer = task.parse(text, sample).answer
    value = None if answer is None else task.parse_answer(answer, sample)
    return PairVerdict(value) if sample.task in PAIRWISE_TASKS and value is not None else value


def parse_completion(text: str, sample: Sample) -> ParsedCompletion:
    """The reasoning, the answer and the format of a text, by the sample's task."""
    return get_task(sample.task).parse(text, sample)


# --- pairs ---

_START = re.compile(r"Overall Judgment|Therefore", re.IGNORECASE)
_BETTER = re.compile(r"Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better", re.IGNORECASE)


def overall_judgment(text: str, sample: Sample) -> PairVerdict | None:
    """VL-RewardBench: the last `Answer N is better` behind the first `Overall Judgment` or `Therefore`.

    The released script compares N with the rejected answer's number only, so that any other number agrees with the
    gold. Here a number that is neither 1 nor 2 cannot be read: it names no answer.
    """
    flat = text.replace("\n", "").replace("*", "")
    start = _START.search(flat)
    found = _BETTER.findall(flat, start.end()) if start else []
    return _by_number(found[-1]) if found else None


def substring(text: str, sample: Sample) -> PairVerdict | None:
    """UnifiedReward's scripts for videos: `Video 1 is better` (or Image, Answer) anywhere, else 2 anywhere."""
    noun = PAIRWISE_TASKS[sample.task].noun
    if f"{noun} 1 is better" in text:
        return PairVerdict.FIRST
    return PairVerdict.SECOND if f"{noun} 2 is better" in text else None


def gold_substring(text: str, sample: Sample) -> PairVerdict | None:
    """UnifiedReward's scripts for images and answers, and those for Qwen3-VL: the right verdict anywhere in the text,
    else the wrong one. A text with both agrees with the gold."""
    noun, gold = PAIRWISE_TASKS[sample.task].noun, int(sample.gold.get("p_first", 0.5) < 0.5)
    return next((PairVerdict(i) for i in (gold, 1 - gold) if f"{noun} {i + 1} is better" in text), None)


def first_number(text: str, sample: Sample) -> PairVerdict | None:
    """R1-Reward's scripts: the number that the first answer element is, else the last digit 1 or 2 of the text.

    Any answer but 1 is a vote for the second in the scripts, which show the better one first. So it is wrong there, as
    an unreadable vote is here.
    """
    answer = first_element(text, "answer")
    if answer is None:
        answer = "1" if text.rfind("1") > text.rfind("2") else "2" if "2" in text else ""
    return _by_number(answer)


def _by_number(text: str) -> PairVerdict | None:
    """The verdict of a text that is the number 1 or 2 in any notation; None for another."""
    try:
        return {1.0: PairVerdict.FIRST, 2.0: PairVerdict.SECOND}.get(float(text))
    except ValueError:
        return None


def bracketed(text: str, sample: Sample) -> PairVerdict | None:
    """Multimodal RewardBench: `[[A]]` anywhere, else `[[B]]` anywhere."""
    return PairVerdict.FIRST if "[[A]]" in text else PairVerdict.SECOND if "[[B]]" in text else None


_FOUR = {
    "[[A>B]]": PairVerdict.FIRST, "[[A>>B]]": PairVerdict.FIRST,
    "[[B>A]]": PairVerdict.SECOND, "[[B>>A]]": PairVerdict.SECOND,
    "[[A=B]]": PairVerdict.TIE, "[[A=B=Good]]": PairVerdict.GOOD, "[[A=B=Bad]]": PairVerdict.BAD,
}  # fmt: skip
_FOUR_ANY_CASE = {text.upper(): verdict for text, verdict in _FOUR.items()}


def four_way(text: str, sample: Sample) -> PairVerdict | None:
    """GenAI-Bench: the last of `[[A>B]]`, `[[B>A]]`, `[[A=B=Good]]`, `[[A=B=Bad]]`; `[[A=B]]` is either tie."""
    found = re.findall(r"\[\[[^\[\]]*\]\]", text)
    return _FOUR_ANY_CASE.get(re.sub(r"\s+", "", found[-1]).upper()) if found else None


def four_way_released(text: str, sample: Sample) -> PairVerdict | None:
    """GenAI-Bench's own script: from the first `[[` of a line to its last `]]`, so that two verdicts on a line fail."""
    found = re.search(r"\[\[.*\]\]", text)
    return _FOUR.get(found[0]) if found else None


def better_image(text: str, sample: Sample) -> PairVerdict | None:
    """MJ-Bench, both images at once: the number after `BETTER IMAGE:`; 0 is a tie."""
    found = re.search(r"BETTER IMAGE:\W*(\d)", text)
    return {"1": PairVerdict.FIRST, "2": PairVerdict.SECOND, "0": PairVerdict.TIE}.get(found[1]) if found else None


def two_scores(text: str, sample: Sample) -> tuple[float, float] | None:
    """VLRMBench: the last two whole numbers; one alone is followed by 0, as in the released script."""
    found = [float(n[:18]) for n in re.findall(r"\d+", text)]
    if not found:
        return None
    first, second = found[-2:] if len(found) > 1 else (found[0], 0.0)
    return first, second


# --- single answers ---


def whole_numbers(text: str, sample: Sample) -> list[int] | None:
    """VLRMBench's steps, 1 = sound: every whole number of the text, where 0 is for a sound step and anything above
    of a faulty one; too few are filled up with sound ones, too many cut off at the end."""
    found = [1 - min(int(n[:9]), 1) for n in re.findall(r"\d+", text)]
    due = len(sample.gold["steps"])
    return (found + [1] * due)[:due] if found else None


def yes_or_no(text: str, sample: Sample) -> str | None:
    """POPE: `no` if the first sentence holds the word No, not or no, else `yes`: every text is readable."""
    first = text.split(".")[0].replace(",", "")
    return "no" if {"No", "not", "no"} & set(first.split(" ")) else "yes"


def yes_and_no(text: str, sample: Sample) -> frozenset[bool] | None:
    """VLRMBench's foresight: which of yes or true, and no or false, stand in the text; both may."""
    verdicts = frozenset(
        value
        for value, words in ((True, "yes|true"), (False, "no|false"))
        if re.search(rf"\b({words})\b", text, re.IGNORECASE)
    )
    return verdicts or None


def literal_rating(text: str, sample: Sample) -> int | None:
    """MMHal-Bench: the one N of 0 to 6 for which `rating: N` is in the text; none or several cannot be read."""
    found = [n for n in range(7) if f"rating: {n}" in text.lower()]
    return found[0] if len(found) == 1 else None


def step_ratings(text: str, sample: Sample) -> list[float] | None:
    """The last JSON list of numbers: one rating for each step (or one for the whole answer)."""
    for found in reversed(re.findall(r"\[[\d\s.,]*\]", text)):
        try:
            values = json.loads(found)
        except ValueError:
            continue
        if values:
            return [float(v) for v in values]
    return None


def phrase(text: str, sample: Sample) -> str | None:
    """ViCrit-Bench, the paper: the last `\\boxed{}`, else the last line."""
    found = boxes(text)
    answer = found[-1][0] if found else text.rstrip().rpartition("\n")[2]
    return answer.strip() or None


def phrase_released(text: str, sample: Sample) -> str:
    """ViCrit-Bench's script: see `released_answer`."""
    return released_answer(text)


def last_box(text: str, sample: Sample) -> tuple[float, ...] | None:
    """VLM-R1's REC: the last `[x1, y1, x2, y2]` of whole numbers between an opening and a closing brace of the first
    answer element; white space is allowed behind the commas only."""
    answer = first_element(text, "answer") or ""
    start, end = answer.find("{"), answer.rfind("}")
    found = BOX.findall(answer, start, end) if 0 <= start < end else []
    return tuple(float(n[:9]) for n in found[-1]) if found else None
