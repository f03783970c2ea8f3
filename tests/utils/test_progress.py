"""What a terminal shows while nothing ends."""

from __future__ import annotations

import io
import time

import pytest
from tqdm import tqdm

from reasoner_rm.utils.progress import redrawn, working


def test_a_bar_is_drawn_between_its_updates() -> None:
    shown = io.StringIO()
    with tqdm(total=2, desc="grpo", file=shown) as bar, redrawn(bar, 0.01):
        before = shown.getvalue().count("\r")
        time.sleep(0.1)
    assert shown.getvalue().count("\r") > before + 2


def test_long_work_says_what_it_is_and_short_work_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with working("judging", 5.0):
        pass
    assert capsys.readouterr().err == ""
    with working("judging", 0.01):
        time.sleep(0.1)
    shown = capsys.readouterr().err
    assert shown.count("judging: 00:0") > 2 and shown.endswith("\n")


def test_an_error_ends_the_drawing() -> None:
    with pytest.raises(ValueError, match="seven"), working("judging", 0.01):
        raise ValueError("seven")
