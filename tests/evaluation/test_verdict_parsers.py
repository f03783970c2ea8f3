"""Published parsers on texts that nobody expected: they never raise, and take no longer than the text is long."""

from __future__ import annotations

import time

import pytest

from reasoner_rm.evaluation.protocol import Parser
from reasoner_rm.evaluation.verdict_parsers import (
    PairVerdict,
    first_number,
    gold_substring,
    last_box,
    overall_judgment,
    phrase_released,
    substring,
)
from reasoner_rm.schema import Sample

PAIR = Sample("p", "response_preference", "q", gold={"p_first": 0.0})
PARSERS = (first_number, gold_substring, last_box, overall_judgment, phrase_released, substring)
LONG = (
    "Therefore" + "Answer " * 50_000,
    "Therefore Answer 1 is" + " " * 200_000,
    "Overall Judgment Answer " + "1" * 50_000 + " is better",
    "<answer>" * 50_000,
    "<answer>" + "9" * 50_000 + "</answer>",
    "<answer>{" + "[1, 2, 3, " * 30_000 + "}</answer>",
    "\\boxed{" * 50_000,
)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_long_texts(parser: Parser) -> None:
    began = time.process_time()
    for text in LONG:
        parser(text, PAIR)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer> 1.0\n</answer><answer>2</answer>", PairVerdict.FIRST),
        ("<answer>２</answer>", PairVerdict.SECOND),  # any notation of the number in an answer element
        ("<answer>Answer 1 is better</answer>", None),
        ("<answer>nan</answer>", None),
        ("1, or rather 2, or 1", PairVerdict.FIRST),  # without one the last digit, in ASCII
        ("Response １", None),
        ("", None),
    ],
)
def test_first_number(text: str, verdict: PairVerdict | None) -> None:
    assert first_number(text, PAIR) is verdict


def test_a_text_with_both_verdicts() -> None:
    """The scripts for images find the right one, those for videos the first."""
    both = "Answer 1 is better? No: Answer 2 is better."
    assert gold_substring(both, PAIR) is PairVerdict.SECOND and substring(both, PAIR) is PairVerdict.FIRST
    assert gold_substring(both, PAIR.swapped()) is PairVerdict.FIRST
    assert gold_substring("Answer 1 is better.", PAIR) is PairVerdict.FIRST
