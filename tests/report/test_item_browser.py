"""The report of each task: its words, its charts, and the browser of its items."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import dom, needs_chromium
from fake_run import STAGES, make_pocket_run
from matplotlib.figure import Figure
from PIL import Image

from reasoner_rm.report import charts, write_report
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.report.item_browser import browse, flags
from reasoner_rm.report.media import ThumbnailCache
from reasoner_rm.report.rollouts import Rollout
from reasoner_rm.report.summary import SplitMetrics, Summary

TASKS = ("image_preference", "caption_critic", "detection", "qa")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The report of a run of each task."""
    made = {}
    for task in TASKS:
        run = tmp_path_factory.mktemp(task)
        make_pocket_run(run, task, n=24)
        made[task] = write_report(run).read_text(encoding="utf-8")
    return made


def text_of(page: str) -> str:
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="items-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# --- words ----------------------------------------------------------------------------------------------------


def test_each_task_has_its_own_words(pages: dict[str, str]) -> None:
    texts = {task: text_of(page) for task, page in pages.items()}
    for task, text in texts.items():
        assert f"Held-out {'F1' if task == 'detection' else 'accuracy'} " in text
        pairs = task == "image_preference"
        assert ("consistency" in text) == ("first position" in text) == ("the judge" in text) == pairs
        assert ("AP50" in text) == (task == "detection")
        assert ("Calibration" in text) == (task in ("image_preference", "qa"))
        if task in ("caption_critic", "detection"):  # nobody could be asked about options
            assert "–" not in re.findall(r"<td>\s*(.*?)\s*</td>", pages[task]), "a hole in the table"
    assert "judge, ECE 0." in texts["image_preference"] and "model, ECE 0." in texts["qa"]


def test_charts_by_kind(pages: dict[str, str]) -> None:
    facets = {"image_preference": "corruption", "caption_critic": "corruption", "qa": "skill", "detection": None}
    for task, facet in facets.items():
        titles = re.findall(r"<figcaption>(By \w+) <small>([^<]*)</small>", pages[task])
        expected = [f"By {f}" for f in (facet, "difficulty") if f]
        assert titles == [(title, split) for title in expected for split in ("held-out", "out of distribution")]
    assert re.search(r">relation \(\d+\)<", pages["image_preference"])


def test_numbers_in_the_accuracy_chart_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"heldout": SplitMetrics(accuracy=0.931), "ood": SplitMetrics(accuracy=0.93)}
    summary = Summary(chance=0.5, stages={f"stage {i}": scores for i in range(5)})
    apart: list[bool] = []

    def measure(paint: Callable[[Any], None], name: str, *, width: float, height: float, below: float) -> str:
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.125, below, 0.865, 0.885 - below))
        paint(axes)
        figure.canvas.draw()
        texts = [t for t in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()) if t.get_text()]
        assert sum("93." in t.get_text() for t in texts) == 10
        boxes = [t.get_window_extent() for t in texts]
        apart.extend(not a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        apart.extend(figure.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))
        return ""

    monkeypatch.setattr(charts, "draw", measure)
    charts.accuracy_plot(summary)
    assert apart and all(apart)


# --- what is told apart ---------------------------------------------------------------------------------------


def answer(said: int | None, order: str = "given", correct: float | None = 1.0, **more: Any) -> Answer:
    row = {
        "id": "a", "task": "image_preference", "prompt": "a star", "images": ["x.png", "y.png"],
        "gold": {"p_first": 1.0}, "order": order, "text": "…", "preferred": said, "correct": correct,
        "answer": None if said is None else f"Image {said + 1} is better",
    }  # fmt: skip
    return Answer.from_row(row | more, Path("nowhere"))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer(0), answer(1, "swapped")], ["right"]),
        ([answer(0), answer(0, "swapped", 0.0)], ["wrong", "inconsistent"]),
        ([answer(1, correct=0.0), answer(0, "swapped", 0.0)], ["wrong"]),
        ([answer(None, correct=0.0), answer(1, "swapped")], ["wrong", "inconsistent", "unparsed"]),
        ([answer(0)], ["right"]),
        ([answer(0, correct=0.67)], ["partly"]),
        ([answer(0, correct=None)], ["tie"]),
        ([answer(0, listener=[0.3, 0.7])], ["right", "disagrees"]),
    ],
)
def test_what_a_reader_may_look_for(answers: list[Answer], expected: list[str]) -> None:
    assert flags(answers) == expected


@pytest.mark.parametrize(
    ("task", "more", "labels"),
    [
        ("edit_preference", {"images": ["s", "a", "b"]}, [("Source", None), ("Image 1", True), ("Image 2", False)]),
        ("response_preference", {"images": ["s"], "responses": ["yes", "no"]},
         [("Image", None), ("Answer 1", True), ("Answer 2", False)]),
        ("video_preference", {"images": [], "videos": [["a"], ["b"]]}, [("Video 1", True), ("Video 2", False)]),
    ],
)  # fmt: skip
def test_candidates_are_called_what_they_are(task: str, more: dict[str, Any], labels: list[tuple[str, bool]]) -> None:
    data = json.loads(browse([Evaluated("grpo", "heldout", (answer(0, task=task, **more),))], ThumbnailCache()).json)
    assert [(view["label"], view["right"]) for view in data["items"][0]["views"]["given"]] == labels


@pytest.mark.parametrize(
    ("components", "right"), [({"format": 1.0, "od_map50": 0.9}, True), ({"accuracy": 0.2}, False), ({}, None)]
)
def test_boxes_of_a_rollout_are_as_right_as_their_reward(components: dict[str, float], right: bool | None) -> None:
    """They stand in the family's own space: here twice the image."""
    boxes = '[{"bbox_2d": [8, 8, 40, 40], "label": "star"}]'
    gold = {"boxes": [{"bbox_2d": [4, 4, 20, 20], "label": "star"}]}
    sample = {"id": "a", "task": "detection", "prompt": "star", "images": ["x.png"], "gold": gold}
    said = {"text": f"<think>t</think>\n<answer>{boxes}</answer>", "components": components}
    rollout = Rollout.from_row({"stage": "grpo", "step": 1, "sample": sample, "completions": [said]}, Path("nowhere"))
    assert rollout.completions[0].right is right and rollout.gold == "1 box"


def test_the_truth_is_marked_not_the_votes() -> None:
    told = answer(0, gold={"p_first": 0.2}, meta={"truth": 1})
    item = json.loads(browse([Evaluated("grpo", "heldout", (told,))], ThumbnailCache()).json)["items"][0]
    assert item["gold"] == "Image 1 is better" and [view["right"] for view in item["views"]["given"]] == [True, False]


def test_too_many_items_are_thinned_evenly() -> None:
    evaluated = Evaluated("grpo", "heldout", tuple(answer(0, id=f"{i}") for i in range(64)))
    whole = browse([evaluated], ThumbnailCache())
    thin = browse([evaluated], ThumbnailCache(), limit=len(whole.json) // 3)
    assert (whole.shown, thin.shown, thin.total) == (64, 16, 64)
    assert [item["id"] for item in json.loads(thin.json)["items"]] == [str(i) for i in range(0, 64, 4)]


def test_text_in_the_data_cannot_leave_it() -> None:
    wicked = answer(0, prompt="</script><img src=x onerror=alert(1)>", text="\ud800")
    data = browse([Evaluated("grpo", "heldout", (wicked,))], ThumbnailCache())
    assert "<" not in data.json and json.loads(data.json)["items"][0]["prompt"][0] == wicked.sample.prompt


# --- in a browser ---------------------------------------------------------------------------------------------


def cards(page: str) -> list[str]:
    return re.findall(r'<article class="item".*?</article>', page, re.DOTALL)


def pick(**choices: str) -> str:
    """A script that chooses in the browser's form, then presses a flag."""
    flag = choices.pop("flag", "")
    lines = [f"document.forms[0].elements['{name}'].value = '{value}';" for name, value in choices.items()]
    lines += [
        "document.forms[0].dispatchEvent(new Event('change'));",
        f"document.forms[0].querySelector('[data-flag=\"{flag}\"]').click();",
    ]
    return "".join(lines)


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("task", TASKS)
def test_items_are_drawn_by_the_page_itself(task: str, pages: dict[str, str], tmp_path: Path) -> None:
    drawn = cards(dom(pages[task], tmp_path))
    first = data_of(pages[task])["items"][0]
    pairs = task == "image_preference"
    assert len(drawn) == 10
    assert first["id"] in drawn[0] and drawn[0].count('class="vote ') == 1 + pairs
    assert drawn[0].count("<img") == (4 if pairs else 1) and drawn[0].count("<svg") == 2 * (task == "detection")
    assert html.escape(first["answers"]["grpo"][0]["answer"], quote=False) in drawn[0]
    if task == "detection":
        gold, found = (re.findall(r"<rect ", svg) for svg in re.findall(r"<svg.*?</svg>", drawn[0], re.DOTALL))
        assert len(gold) == len(first["views"]["given"][0]["boxes"])
        assert len(found) == len(first["answers"]["grpo"][0].get("boxes", ()))


@pytest.mark.browser
@needs_chromium
def test_items_are_found(pages: dict[str, str], tmp_path: Path) -> None:
    page = pages["image_preference"]
    items = data_of(page)["items"]
    for flag in ("wrong", "inconsistent", "unparsed"):
        wanted = {"stage": "cold_start", "split": "ood", "difficulty": "2"}
        expected = [
            item["id"] for item in items
            if item["split"] == "ood" and item["facets"]["difficulty"] == "2" and flag in item["flags"]["cold_start"]
        ]  # fmt: skip
        shown = dom(page, tmp_path, pick(flag=flag, **wanted))
        assert [re.search(r"<span>(pocket-[^<]*)</span></footer>", card)[1] for card in cards(shown)] == expected[:10]  # type: ignore[index]
        assert re.search(rf'data-flag="{flag}" aria-pressed="true">[\w ]+<small>{len(expected)}</small>', shown)


@pytest.mark.browser
@needs_chromium
def test_a_thousand_items_are_turned_with_the_keyboard(tmp_path: Path) -> None:
    for name in "xy":
        Image.new("RGB", (56, 56), "white").save(tmp_path / f"{name}.png")
    rows = tuple(answer(0, id=f"{i}", images=[str(tmp_path / f"{n}.png") for n in "xy"]) for i in range(1000))
    (tmp_path / "evaluations").mkdir()
    lines = "".join(json.dumps({
        "id": r.sample.id, "task": r.sample.task, "prompt": "a star", "images": ["x.png", "y.png"],
        "gold": {"p_first": 1.0}, "order": "given", "text": "t", "preferred": 0, "correct": 1.0, "answer": "a",
    }) + "\n" for r in rows)  # fmt: skip
    (tmp_path / "evaluations" / "grpo-heldout.jsonl").write_text(lines)
    keys = ["ArrowRight", "ArrowRight", "ArrowLeft", "j", "j", "k", "j"]
    event = "document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true}}));"
    press = "".join(event.format(key) for key in keys)
    at = "document.title = [document.activeElement.querySelector('footer'), document.forms[0].querySelector('output')]"
    at += ".map((part) => part.textContent).join(' at ')"
    page = dom(
        write_report(tmp_path).read_text(encoding="utf-8"), tmp_path, f"document.forms[0].scrollIntoView();{press}{at}"
    )
    assert len(cards(page)) == 10 and page.count("<img") == 20
    assert "<title>gold: Image 1 is better11 at 11–20 of 1000</title>" in page


def test_every_stage_is_there(pages: dict[str, str]) -> None:
    assert all(list(item["answers"]) == list(STAGES) for item in data_of(pages["qa"])["items"])
