"""The whole loop as a user runs it, and that what is learnt is learnt from the reward."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kill_helpers import grpo, steps, write_config
from PIL import Image, ImageDraw

from reasoner_rm import Judge, load_samples
from reasoner_rm.cli.common import LIBRARY_LINES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`reasoner-rm pocket --quick`, from the shell, with a third of its steps."""
    out = tmp_path_factory.mktemp("pocket") / "run"
    command = [sys.executable, "-m", "reasoner_rm", "pocket", "--world", "digits", "--quick", "--out", str(out)]
    for setting in (
        "sft.batch_size=16", "sft.max_steps=80", "rejection_sampling.num_samples=2",
        "rejection_sampling.sft.max_steps=4", "grpo.max_steps=2", "grpo.log_rollouts_every=2", "eval.limit=20",
    ):  # fmt: skip
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not any(line in done.stderr for line in LIBRARY_LINES.values())
    assert f"report: {out / 'report.html'}" in done.stdout and f"judge --model {out}" in done.stdout
    return out


class Text(HTMLParser):
    """The visible text and the image sources of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.words: list[str] = []
        self.images: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += [value or "" for name, value in attrs if tag == "img" and name == "src"]
        assert not any(name in ("src", "href") and (value or "").startswith("http") for name, value in attrs)


def test_the_run_directory_is_whole(quick: Path) -> None:
    names = {p.name for p in quick.iterdir()}
    assert names >= {
        "config.resolved.yaml", "versions.json", "metrics.jsonl", "rollouts.jsonl", "checkpoints", "final",
        "summary.json", "report.html", "data", "evaluations", "sft.jsonl", "rl.jsonl",
    }  # fmt: skip
    summary = json.loads((quick / "summary.json").read_text())
    for stage in ("cold_start", "rejection_sampling", "grpo"):
        for split in ("heldout", "ood"):
            figures = summary["stages"][stage][split]
            for key in ("accuracy", "consistency", "first_position", "well_formed", "contradiction"):
                assert 0 <= figures[key] <= 1
    assert summary["seconds"] > 0 and summary["peak_rss_mb"] > 0 and summary["seed"] == 0
    assert 0 <= summary["blind"]["accuracy"] <= 1
    stored = [quick / name / "model.safetensors" for name in ("final", "checkpoints/grpo")]
    assert stored[0].samefile(stored[1]), "the weights are stored once"
    card = json.loads((quick / "final" / "reasoner_rm.json").read_text())
    assert card["task"] == "image_preference" and card["container"] == "answer" and card["template"]["text"]


def test_no_image_of_training_is_measured(quick: Path) -> None:
    seen = {
        n: {Path(i).name for s in load_samples(quick / "data" / f"{n}.jsonl") for i in s.images}
        for n in ("cold_start", "train", "heldout", "ood")
    }
    assert (
        not (seen["cold_start"] | seen["train"]) & (seen["heldout"] | seen["ood"]) and not seen["heldout"] & seen["ood"]
    )


def test_the_report_reads(quick: Path) -> None:
    page = Text((quick / "report.html").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert "listener" in words.lower() and "cold start" in words.lower()
    assert len([i for i in page.images if i.startswith("data:image/")]) >= 20


def test_the_judge_judges_the_held_out_pairs(quick: Path) -> None:
    """The API, asked anew, agrees with what the evaluation wrote down."""
    samples = load_samples(quick / "data" / "heldout.jsonl")[:20]
    verdicts = Judge.from_pretrained(quick, max_tokens=48).verdicts(samples)
    rows = [json.loads(line) for line in (quick / "evaluations" / "grpo-heldout.jsonl").open()]
    for sample, verdict in zip(samples, verdicts, strict=True):
        said = [
            r["preferred"] if r["order"] == "given" else 1 - r["preferred"]
            for r in rows
            if r["id"] == sample.id and r["preferred"] is not None
        ]
        assert [v for v in verdict.votes if v is not None] == said
    assert statistics.mean(v.parsed for v in verdicts) > 0.9


def test_the_judge_takes_pictures_that_no_recipe_made(quick: Path, tmp_path: Path) -> None:
    for name, points in (("seven", [(60, 60), (240, 60), (130, 250)]), ("one", [(110, 90), (160, 50), (160, 250)])):
        image = Image.new("RGB", (300, 300), "white")
        ImageDraw.Draw(image).line(points, fill="black", width=34, joint="curve")
        image.save(tmp_path / f"{name}.png")
    verdict = Judge.from_pretrained(quick, max_tokens=48).compare(
        "a handwritten 7", tmp_path / "seven.png", tmp_path / "one.png"
    )
    assert verdict.parsed and verdict.reasoning and len(verdict.votes) == 2


VOWELS = '''
def vowels(group, parsed, context):
    """The share of vowels among a completion's characters."""
    return [sum(map(c.text.lower().count, "aeiou")) / max(1, len(c.text)) for c in group.completions]
'''


@pytest.mark.parametrize("shuffled", [False, True])
def test_grpo_learns_what_is_rewarded_and_nothing_from_a_shuffled_reward(
    shuffled: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    """Sixteen steps from the same weights on the same prompts. With seeds 0, 1 and 2 the reward rises from 0.2 to 0.9
    or more; shuffled within each group it ends at 0.25 or less."""
    (tmp_path / "vowels.py").write_text(VOWELS)
    section = {
        "rewards": {"vowels.py:vowels": 1.0}, "shuffle_rewards": shuffled, "max_steps": 16, "prompts_per_device": 4,
        "num_generations": 8, "max_completion_length": 12, "learning_rate": 1e-2, "lr_scheduler_type": "constant",
        "beta": 0.0,
    }  # fmt: skip
    config = write_config(tmp_path, model={"path": str(tiny_folder)}, grpo=section)
    assert grpo(config, tmp_path / "run") == 0
    rewards = [
        value for step in steps(tmp_path / "run") for name, value in step.items() if name.endswith("vowels.py:vowels")
        and name.startswith("reward/")
    ]  # fmt: skip
    assert len(rewards) == 16 and rewards[0] < 0.3
    learnt = statistics.mean(rewards[-3:])
    assert learnt < 0.4 if shuffled else learnt > 0.6, rewards
