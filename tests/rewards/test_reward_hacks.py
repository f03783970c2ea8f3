"""A hack gets less than an honest answer, unless the table says that it pays; the docs show the same table."""

from __future__ import annotations

from pathlib import Path

import pytest
from reward_hacks import HACKS, Hack, library, table

from reasoner_rm.rewards import PRESETS

DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"


@pytest.mark.parametrize("hack", HACKS, ids=lambda h: f"{h.name}-{h.reward}")
def test_a_hack_gets_less_than_an_honest_answer(hack: Hack) -> None:
    honest, hacked = hack.scores()
    assert (hacked >= honest) is hack.pays


def test_the_docs_show_these_tables() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for shown in (library(), table()):
        assert shown in text, "copy it from: python tests/helpers/reward_hacks.py"


def test_the_docs_name_every_preset() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in PRESETS)
