"""The report, on a run directory made up here: whole, unfinished, broken, and with hostile text in it."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import dom, needs_chromium
from PIL import Image, ImageDraw, ImageFont

from reasoner_rm.errors import InputError
from reasoner_rm.report import write_report
from reasoner_rm.report.conclusions import headline, remarks
from reasoner_rm.report.curves import running_mean
from reasoner_rm.report.formatting import clip
from reasoner_rm.report.page import MAX_BYTES
from reasoner_rm.report.rollouts import section_ranges
from reasoner_rm.report.summary import SplitMetrics, Summary

HOSTILE = '<think>Image 1 <script>alert("pwned")</script> shows a 7.</think>'
STEPS, PROMPTS, G = 30, 4, 6


# --- a made-up run --------------------------------------------------------------------------------------------


def make_run(run: Path, *, seed: int = 0) -> Path:
    """A run directory as the three stages leave it: digits, two candidates a sample, a judge that improves."""
    rng = random.Random(seed)
    for digit in range(10):
        draw_digit(run / "images" / f"{digit}.png", digit, rng)
    write_json(run / "summary.json", make_summary())
    write_json(run / "versions.json", {"python": "3.12.1", "torch": "2.8.0", "reasoner-rm": "0.1.0"})
    template = {"name": "default", "text": "Caption: {{ prompt }}\nDecide.", "hash": "0123456789abcdef"}
    write_json(run / "final" / "reasoner_rm.json", {"task": "image_preference", "template": template})
    (run / "config.resolved.yaml").write_text("seed: 0\ngrpo:\n  beta: 0.04\n")
    write_lines(run / "metrics.jsonl", make_metrics(rng))
    write_lines(run / "rollouts.jsonl", (make_group(s, p, rng) for s in range(1, STEPS + 1) for p in range(PROMPTS)))
    for stage, skill in (("cold_start", 0.75), ("grpo", 0.93)):
        for split in ("heldout", "ood"):
            rows = (row for i in range(30) for row in make_judgements(i, skill, rng))
            write_lines(run / "evaluations" / f"{stage}-{split}.jsonl", rows)
    return run


def draw_digit(file: Path, digit: int, rng: random.Random) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    paper, pen = (tuple(rng.randint(*span) for _ in range(3)) for span in ((215, 255), (0, 90)))
    image = Image.new("RGB", (56, 56), paper)
    ImageDraw.Draw(image).text((28, 28), str(digit), fill=pen, font=ImageFont.load_default(44), anchor="mm")
    image.rotate(rng.uniform(-9, 9), fillcolor=paper).save(file)


def make_summary() -> dict[str, Any]:
    def scores(accuracy: float, half: float, contradiction: float, n: int) -> dict[str, Any]:
        return {
            "accuracy": accuracy, "accuracy_interval": [accuracy - half, accuracy + half],
            "consistency": accuracy - 0.1, "first_position": 0.512, "well_formed": 0.991,
            "contradiction": contradiction, "accuracy_agree": accuracy + 0.03,
            "accuracy_disagree": None if n < 250 else 0.41, "n": n, "ties": 0,
        }  # fmt: skip

    return {
        "task": "image_preference", "base": "builtin:digits-base", "listener": "builtin:digits-listener",
        "seed": 0, "seconds": 612.3, "peak_rss_mb": 2100, "chance": 0.5,
        "data": {"cold_start": 400, "train": 2000, "sft": 700, "rl": 900, "heldout": 300, "ood": 200},
        "stage_seconds": {"cold_start": 80.1, "rejection_sampling": 120.0, "grpo": 341.0},
        "blind": {"accuracy": 0.503, "accuracy_interval": [0.45, 0.55]},
        "stages": {
            "grpo": {"heldout": scores(0.931, 0.027, 0.04, 300), "ood": scores(0.846, 0.05, 0.09, 200)},
            "cold_start": {"heldout": scores(0.782, 0.047, 0.12, 300), "ood": scores(0.685, 0.064, 0.19, 200)},
        },
    }  # fmt: skip


def make_metrics(rng: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for stage, steps in (("cold_start", 80), ("rejection_sampling", 40)):
        for step in range(1, steps + 1):
            loss = 2.4 * math.exp(-step / 18) + 0.12 + rng.gauss(0, 0.04)
            rows.append({"stage": stage, "step": step, "loss": loss, "grad_norm": rng.random(), "learning_rate": 1e-3})
    for step in range(1, STEPS + 1):
        skill = 0.78 + 0.15 * step / STEPS
        rows.append({
            "stage": "grpo", "step": step, "loss": rng.gauss(0, 0.01), "learning_rate": 1e-4 * (1 - step / STEPS),
            "reward": 1 + skill + rng.gauss(0, 0.05), "reward/format": min(1, 0.93 + step / 300 + rng.gauss(0, 0.02)),
            "reward/accuracy": min(1, skill + rng.gauss(0, 0.04)), "reward_std": 0.4 - step / 100,
            "reward/listener_belief": min(1, skill - 0.03 + rng.gauss(0, 0.03)), "sampler_logprob_gap": 1e-6,
            "entropy": 0.9 - step / 60 + rng.random() / 20, "completion_length": 24 + rng.gauss(0, 1.2),
            "zero_variance": step / 60 + rng.random() / 10, "grad_norm": 1 + rng.random(),
            "kl": 0.002 * step + rng.random() / 100,
        })  # fmt: skip
    return rows


def make_group(step: int, place: int, rng: random.Random) -> dict[str, Any]:
    digits = rng.sample(range(10), 2)
    gold = rng.choice((0, 1))
    skill = 0.7 + 0.25 * step / STEPS
    completions = [make_completion(digits, gold, skill, rng) for _ in range(G)]
    mean = sum(c["total"] for c in completions) / G
    for completion in completions:
        completion["advantage"] = round(completion["total"] - mean, 3)
    if (step, place) == (1, 0):
        completions[0]["text"] = HOSTILE + "\n<answer>Image 1 is better</answer>"
    sample = {
        "id": f"digits-{step}-{place}", "task": "image_preference", "prompt": f"a handwritten {digits[gold]}",
        "images": [f"images/{d}.png" for d in digits], "gold": {"p_first": 1.0 - gold}, "meta": {"asked": digits[gold]},
    }  # fmt: skip
    return {"stage": "grpo", "step": step, "sample": sample, "completions": completions}


def make_completion(digits: list[int], gold: int, skill: float, rng: random.Random) -> dict[str, Any]:
    said = gold if rng.random() < skill else 1 - gold
    heard = rng.betavariate(9, 2) if said == gold else rng.betavariate(3, 4)
    probs = [heard, 1 - heard] if gold == 0 else [1 - heard, heard]
    text = thought(digits, gold, said) + f"\n<answer>Image {said + 1} is better</answer>"
    whole = rng.random() < 0.95
    components = {"format": float(whole), "accuracy": float(whole and said == gold), "listener_belief": heard * whole}
    return {
        "text": text if whole else text[:-40], "finish_reason": "stop" if whole else "length", "well_formed": whole,
        "parse_error": "" if whole else "no <answer>", "components": components, "total": sum(components.values()),
        "belief": {"options": ["1", "2"], "probs": probs, "option_mass": 0.99} if whole else None,
    }  # fmt: skip


def thought(digits: list[int], gold: int, said: int) -> str:
    one, two = digits if said == gold else digits[::-1]
    return f"<think>The caption asks for a {digits[gold]}. Image 1 shows a {one}. Image 2 shows a {two}.</think>"


def make_judgements(index: int, skill: float, rng: random.Random) -> list[dict[str, Any]]:
    """One item's records, in both orders."""
    digits = rng.sample(range(10), 2)
    best = rng.choice((0, 1))
    rows = []
    for order, shown, gold in (("given", digits, best), ("swapped", digits[::-1], 1 - best)):
        said = gold if rng.random() < skill else 1 - gold
        rows.append({
            "id": f"heldout-{index}", "task": "image_preference", "prompt": f"the digit {digits[best]}",
            "images": [f"images/{d}.png" for d in shown], "gold": {"p_first": 1.0 - gold}, "by": {}, "order": order,
            "text": thought(shown, gold, said) + f"\n<answer>Image {said + 1} is better</answer>",
            "thinking": thought(shown, gold, said)[7:-8], "answer": f"Image {said + 1} is better",
            "well_formed": True, "parse_error": "", "preferred": said, "correct": float(said == gold),
            "listener": [0.9, 0.1] if said == 0 else [0.2, 0.8], "confidence": [0.7, 0.3], "boxes": None,
        })  # fmt: skip
    return rows


def write_json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


def write_lines(file: Path, rows: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- reading the page back ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A parsed report: how often each tag and class stands in it, its images' addresses, and its visible text."""

    VOID = frozenset({"meta", "img", "link"})

    def __init__(self, file: Path):
        super().__init__(convert_charrefs=True)
        self.raw = file.read_text(encoding="utf-8")
        self.tags: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(self.raw)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags[tag] += 1
        self.classes.update(given.get("class", "").split())
        self.addresses += [given[key] for key in ("src", "href", "xlink:href") if key in given]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def items(self) -> dict[str, Any]:
        """The data of the browser of evaluated items."""
        return json.loads(re.search(r'id="items-data"[^>]*>(.*?)</script>', self.raw, re.DOTALL)[1])  # type: ignore[index]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report_of(run: Path) -> Page:
    page = Page(write_report(run))
    assert not page.open, f"left open: {page.open}"
    return page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def whole(made: Path) -> Page:
    return report_of(made)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy to break, with few metrics: plots take most of a report's time."""
    copy = Path(shutil.copytree(made, tmp_path / "a run"))
    write_lines(copy / "metrics.jsonl", [{"stage": "grpo", "step": i, "reward": 1.0, "kl": 0.01 * i} for i in range(9)])
    return copy


# --- the whole run --------------------------------------------------------------------------------------------


def test_headline_and_story(whole: Page) -> None:
    assert "Held-out accuracy 78.2 % after cold start → 93.1 % after GRPO (chance 50 %, blind 50.3 %)" in whole.text
    assert "builtin:digits-base was trained on the task image_preference" in whole.text
    assert "the 95 % intervals do not overlap" in whole.text
    assert "SFT on 400 examples with reasoning 80 steps in 1 min 20 s" in whole.text
    assert "10 min 12 s" in whole.text and "2.1 GB" in whole.text
    assert "Incomplete data" not in whole.text


def test_stands_alone(whole: Page) -> None:
    assert all(address.startswith(("data:image/", "#")) for address in whole.addresses)
    assert whole.tags["link"] == 0 and "@import" not in whole.raw and "url(http" not in whole.raw
    assert "default-src 'none'" in whole.raw
    assert len(whole.raw.encode()) < MAX_BYTES


def test_plots_take_their_colours_from_the_page(whole: Page) -> None:
    # accuracy, two losses, components and five more of GRPO, 2 + 2 + 5 others
    assert whole.tags["svg"] == 1 + 2 + 6 + 2 + 2 + 5
    assert "var(--series-1)" in whole.raw and "#fe00" not in whole.raw
    assert "matplotlib" not in whole.raw and "<metadata" not in whole.raw


def test_rollouts_from_the_start_the_middle_and_the_end(whole: Page) -> None:
    assert whole.classes["group"] == 39 and whole.classes["completion"] == 39 * G
    assert "39 of 120 recorded groups" in whole.text and "81 are left out" in whole.text
    for step in (1, 15, STEPS):
        assert f"GRPO step {step} " in whole.text
    assert "malformed: no <answer>" in whole.text and "finish: length" in whole.text
    assert "listener disagrees" in whole.text


def test_every_item_stands_in_it(whole: Page) -> None:
    assert "All 60 evaluated items" in whole.text
    items = whole.items["items"]
    assert [(item["split"], item["id"]) for item in items] == [
        (split, f"heldout-{i}") for split in ("heldout", "ood") for i in range(30)
    ]
    assert all(list(item["answers"]) == ["cold_start", "grpo"] for item in items)


def test_how_to_use_it(run: Path) -> None:
    text = report_of(run).text
    assert f"reasoner-rm judge --model '{run}' --caption" in text and f'Judge.from_pretrained("{run}")' in text
    assert "Caption: {{ prompt }}" in text and "beta: 0.04" in text and "torch 2.8.0" in text


def test_text_of_a_model_is_text(whole: Page) -> None:
    assert whole.tags["script"] == 2  # the page's own, and its data, which is no program
    assert '<script>alert("pwned")</script> shows a 7.' in whole.text


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_importing_it_is_light() -> None:
    code = "import sys, reasoner_rm.report; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- in a browser ---------------------------------------------------------------------------------------------

CLICK = "document.querySelector('[data-filter=malformed]').click()"


def completions(page: str) -> list[str]:
    """The classes of the completions that stand in a page."""
    return re.findall(r'<article class="(completion[^"]*)">', page)


@pytest.mark.browser
@needs_chromium
def test_the_filter_shows_what_was_asked_for(whole: Page, tmp_path: Path) -> None:
    shown = completions(dom(whole.raw, tmp_path, CLICK))
    assert 0 < len(shown) < whole.classes["completion"]
    assert all("malformed" in classes for classes in shown)


@pytest.mark.browser
@needs_chromium
def test_a_foreign_script_does_not_run(whole: Page, tmp_path: Path) -> None:
    page = whole.raw.replace("</body>", f"<script>{CLICK}</script></body>")
    assert len(completions(dom(page, tmp_path))) == whole.classes["completion"]


# --- unfinished and broken runs -------------------------------------------------------------------------------


def test_a_run_that_is_still_going(run: Path) -> None:
    (run / "summary.json").unlink()
    (run / "final" / "reasoner_rm.json").unlink()
    (run / "final").rmdir()
    page = report_of(run)
    assert "No metrics yet" in page.text and "There is no readable summary.json" in page.text
    assert "There is no judge yet" in page.text
    assert page.classes["group"] == 39 and page.tags["svg"] == 2


def test_only_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.resolved.yaml").write_text("seed: 1\n")
    text = report_of(tmp_path).text
    for said in (
        "No metrics have been logged",
        "No rollouts have been recorded",
        "No evaluated items have been recorded",
    ):
        assert said in text


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["metrics.jsonl", "rollouts.jsonl", "evaluations/grpo-heldout.jsonl"])
def test_a_line_that_is_cut_off(run: Path, name: str) -> None:
    file = run / name
    file.write_bytes(file.read_bytes()[:-60])
    page = report_of(run)
    lines = file.read_bytes().count(b"\n") + 1
    assert f"{file.name}: lines that cannot be read: 1 (first: line {lines}: it is truncated)" in page.text
    assert "78.2 % after cold start" in page.text


@pytest.mark.parametrize("row", ["[]", "{}", "7", '{"sample": 3, "text": 4}', '{"sample": {"id": "a"}}', "\xff"])
def test_rows_of_another_shape(run: Path, row: str) -> None:
    for name in ("rollouts.jsonl", "evaluations/grpo-ood.jsonl"):
        file = run / name
        file.write_bytes(row.encode("latin-1") + b"\n" + file.read_bytes())
    text = report_of(run).text
    assert "rollouts.jsonl: lines that cannot be read: 1 (first: line 1" in text
    assert "grpo-ood.jsonl: lines that cannot be read: 1 (first: line 1" in text


@pytest.mark.parametrize(
    "value", [None, [], "text", {"stages": None}, {"stages": {"grpo": {"heldout": None}}}, {"stages": 3}, {"seed": "x"}]
)
def test_summaries_of_another_shape(run: Path, value: Any) -> None:
    write_json(run / "summary.json", value)
    assert "Held-out accuracy 9" not in report_of(run).text


def test_soft_gold_and_ties(run: Path) -> None:
    groups = [make_group(1, place, random.Random(place)) for place in (1, 2)]
    for group, p_first in zip(groups, (0.7, 0.5), strict=True):
        group["sample"]["gold"] = {"p_first": p_first}
    write_lines(run / "rollouts.jsonl", groups)
    page = report_of(run)
    assert "gold: Image 1 is better (70 %)" in page.text and "gold: a tie" in page.text
    assert "All 2 recorded groups" in page.text


def test_missing_images_are_shown_and_counted(run: Path) -> None:
    (run / "images" / "3.png").unlink()
    (run / "images" / "4.png").write_bytes(b"no image")
    page = report_of(run)
    assert page.classes["missing"] > 2
    assert "Images that could not be opened: 2" in page.text


def test_hostile_names_and_surrogates(run: Path) -> None:
    rows = [{"stage": "<b>$x^$", "step": i, "loss": 1.0, "reward": 0.5, "reward/$\\frac{<i>": 1e300} for i in range(3)]
    write_lines(run / "metrics.jsonl", rows + [{"stage": "grpo", "step": 1, "loss": math.nan, "kl": "high"}])
    group = make_group(1, 1, random.Random(1))
    group["completions"][0] |= {"text": "\ud800 lone", "components": {"$\\frac{<i>": -3.0}, "belief": None}
    write_lines(run / "rollouts.jsonl", [group])
    kinds = {"kind": {"\ud800": {"accuracy": 0.5, "n": 2}}}
    write_json(run / "summary.json", {"stages": {"<b>$x^$": {"heldout": {"accuracy": 0.5, "by": kinds}}}})
    page = report_of(run)
    assert "50.0 % after <b>$x^$" in page.text and "<b>$x^$" in page.text and "$\\frac{<i>" in page.text
    assert "By kind" in page.text
    assert "1 values are not finite (first: loss of grpo at step 1)" in page.text
    assert page.classes["negative"] == 1


def test_a_page_stays_small(run: Path) -> None:
    rng = random.Random(0)
    groups = [make_group(1 + i, 0, rng) for i in range(60)]
    for group in groups:
        group["completions"] = [c | {"text": "x" * 6_000} for c in group["completions"] * 8]
    write_lines(run / "rollouts.jsonl", groups)
    page = report_of(run)
    assert len(page.raw.encode()) < MAX_BYTES and 0 < page.classes["group"] < 39
    assert "characters left out" in page.text


# --- its parts ------------------------------------------------------------------------------------------------


def scored(stage: str, accuracy: float, half: float | None = None) -> dict[str, dict[str, SplitMetrics]]:
    interval = None if half is None else (accuracy - half, accuracy + half)
    return {stage: {"heldout": SplitMetrics(accuracy=accuracy, accuracy_interval=interval)}}


@pytest.mark.parametrize(
    ("before", "after", "tone", "words"),
    [
        ((0.70, 0.05), (0.90, 0.03), "good", "raised held-out accuracy by 20.0 points"),
        ((0.70, 0.05), (0.72, 0.05), "warn", "overlap, so this may be chance"),
        ((0.90, 0.03), (0.70, 0.05), "bad", "lowered held-out accuracy by 20.0 points"),
        ((0.70, None), (0.90, None), "warn", "no intervals"),
    ],
)
def test_what_a_change_means(before: Any, after: Any, tone: str, words: str) -> None:
    [remark] = remarks(Summary(stages=scored("cold_start", *before) | scored("grpo", *after)))
    assert remark.tone == tone and words in remark.text.replace("\u00a0", " ")


def test_chance_and_blindness_are_remarked() -> None:
    blind = SplitMetrics(accuracy=0.6, accuracy_interval=(0.55, 0.65))
    said = [r.text for r in remarks(Summary(stages=scored("grpo", 0.52, 0.05), chance=0.5, blind=blind))]
    assert "is not significantly above chance" in said[0] and "the text alone predicts the label" in said[1]


def test_a_headline_of_one_stage() -> None:
    assert (
        headline(Summary(stages=scored("rejection_sampling", 0.8))).replace("\u00a0", " ")
        == "Held-out accuracy 80.0 % after rejection sampling"
    )


def test_running_mean_keeps_a_constant_and_skips_gaps() -> None:
    values = np.array([2.0] * 50)
    values[[0, 17]] = np.nan
    assert np.allclose(running_mean(values), 2.0)
    assert running_mean(np.array([1.0])).tolist() == [1.0]


@pytest.mark.parametrize("total", [0, 1, 2, 39, 40, 1000])
def test_chapters_never_overlap(total: int) -> None:
    lines = [line for section in section_ranges(total, 39) for line in section]
    assert lines == sorted(set(lines)) and len(lines) == min(total, 39)
    assert not lines or (lines[0], lines[-1]) == (0, total - 1)


def test_clip_says_what_it_leaves_out() -> None:
    assert clip("abc", 3) == "abc"
    assert clip("a" * 6000 + "b", 4000).endswith("b") and "2,001 characters left out" in clip("a" * 6000 + "b", 4000)
