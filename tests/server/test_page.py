"""The page at `/`, as a person uses it, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, needs_chromium
from fake_engine import picture, seeing_judge
from judge_server import encoded, serving

from reasoner_rm.server.app import create_app

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page whose console has to stay empty, and which may speak to its own server alone."""
    opened = browser.new_page()
    said: list[str] = []
    elsewhere: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request", lambda r: elsewhere.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:")) else None
    )
    yield opened
    assert not [line for line in said if "401" not in line and "400" not in line] and not elsewhere
    opened.close()


def give(page: Any, first: str, second: str, folder: Path) -> None:
    for i, colour in enumerate((first, second)):
        file = folder / f"{i}.png"
        file.write_bytes(encoded(picture(colour)))
        page.set_input_files(f"#drop{i} input", str(file))
        page.locator(f"#drop{i} img").wait_for(state="visible")


def test_two_images_a_caption_a_verdict_and_swapped(page: Any, tmp_path: Path) -> None:
    with serving(create_app(seeing_judge(), name="eyes")) as url:
        page.goto(url)
        page.get_by_text("eyes: a judge that reasons").wait_for()
        page.fill("#caption", "a <b>red</b> thing")
        give(page, "blue", "red", tmp_path)
        page.click("#go")
        page.get_by_text("Image 2 is better").wait_for()
        assert "Image 1 is blue. Image 2 is red." in page.inner_text("#reasoning")
        assert "<b>red</b>" in page.inner_text("#reasoning") and page.locator("#reasoning b").count() == 0
        assert "2 votes; both orders agree" in page.inner_text("#detail")
        assert page.locator("#bar").inner_text().split("\n") == ["Image 1: 0 %", "Image 2: 100 %"]
        widths = [page.locator("#bar i").nth(i).bounding_box()["width"] for i in (0, 1)]
        assert widths[0] < 1 and widths[1] > 100, "the bar is filled from the side of the winner"
        page.click("#all summary")
        assert page.locator("#votelist li").count() == 2
        votes = page.locator("#votelist").inner_text()
        assert "Image 1 is blue. Image 2 is red." in votes and "Image 2 is red. Image 1 is blue." in votes
        assert page.locator("#drop1.won").count() == 1 and page.locator("#drop0.won").count() == 0
        page.click("#swap")
        page.get_by_text("Image 1 is better").wait_for()
        assert "Image 1 is red. Image 2 is blue." in page.inner_text("#reasoning")
        assert page.locator("#drop0.won").count() == 1 and page.locator("#drop1.won").count() == 0


def test_what_is_missing_or_broken_is_said(page: Any, tmp_path: Path) -> None:
    with serving(create_app(seeing_judge())) as url:
        page.goto(url)
        page.fill("#caption", "red")
        page.click("#go")
        page.get_by_text("Two images are needed.").wait_for()
        give(page, "blue", "red", tmp_path)
        (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
        page.set_input_files("#drop0 input", str(tmp_path / "broken.png"))
        page.click("#go")
        page.get_by_text("image 0: not a complete image").wait_for()


def test_a_key_is_asked_for(page: Any, tmp_path: Path) -> None:
    with serving(create_app(seeing_judge(), key="s3cret")) as url:
        page.goto(url)
        page.locator("#key").wait_for(state="visible")
        page.fill("#key", "s3cret")
        page.fill("#caption", "red")
        give(page, "red", "blue", tmp_path)
        page.click("#go")
        page.get_by_text("Image 1 is better").wait_for()
