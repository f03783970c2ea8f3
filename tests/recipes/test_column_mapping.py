"""A user's own table by a mapping: labels that YAML and tables write as different types, and targets in their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from shell import fails, shell

from reasoner_rm.data.io import load_samples

TARGETS = (
    "<think>Image 1 shows a red box, image #2 a blue strip.</think><answer>Image 1 is better</answer>",
    "<think>The first image shows a red box, the second a wall.</think><answer>Image 1 is better</answer>",
)


def write_table(folder: Path, values: list[Any], labels: str, target: str = "") -> tuple[Path, Path]:
    """A JSONL of pairs with these values in `pref`, and its mapping."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "red").save(folder / name)
    rows = [{"a": "a.png", "b": "b.png", "prompt": f"red {i}", "pref": v, "why": target} for i, v in enumerate(values)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = f"task: image_preference\nprompt: prompt\nimages: [a, b]\nlabel: pref\nlabels: {labels}\n"
    (folder / "m.yaml").write_text(text + ("target: why\n" if target else ""))
    return folder / "t.jsonl", folder / "m.yaml"


def build(folder: Path, table: Path, mapping: Path, *more: str) -> str:
    done = shell("data", "build", "mapped", "--data", table, "--mapping", mapping, "--out", folder / "out", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ("{1: 1, 2: 0}", [1, 2, "1", " 2 ", 1.0, "2.0"]),
        ("{yes: 1, no: 0}", ["yes", "no", True, False, "Yes", "NO"]),
        ("{true: 1, false: 0}", ["true", "false", True, False, "True", "off"]),
        ("{'yes': 1, 'no': 0}", ["yes", "no"]),
        ("{left: 1, right: 0}", ["left", " right"]),
        ("{0.5: 1, 1.5: 0}", ["0.5", 1.5]),
    ],
)
def test_labels_match_whatever_their_type(labels: str, values: list[Any], tmp_path: Path) -> None:
    """The first candidate is preferred in every other row; ``meta.order`` undoes the drawn order."""
    build(tmp_path, *write_table(tmp_path, values, labels))
    samples = load_samples(tmp_path / "out" / "train.jsonl")
    given = [s.gold["p_first"] if s.meta["order"] == [0, 1] else 1 - s.gold["p_first"] for s in samples]
    assert given == [1.0, 0.0] * (len(values) // 2)


def test_an_unknown_label_names_those_that_are_known(tmp_path: Path) -> None:
    table, mapping = write_table(tmp_path, ["3"], "{1: 1, 2: 0}")
    line = fails("data", "build", "mapped", "--data", table, "--mapping", mapping, "--out", tmp_path / "out")
    assert "pref is '3'; labels has 1, 2" in line


def test_targets_turn_with_their_candidates_or_keep_the_order(tmp_path: Path) -> None:
    certain, uncertain = tmp_path / "certain", tmp_path / "uncertain"
    for folder, target in zip((certain, uncertain), TARGETS, strict=True):
        folder.mkdir()
        said = build(folder, *write_table(folder, [1] * 20, "{1: 1, 2: 0}", target))
        assert ("20 samples, whose target cannot be relabelled" in said) == (folder == uncertain)
        samples = load_samples(folder / "out" / "train.jsonl")
        assert {tuple(s.meta["order"]) for s in samples} == ({(0, 1)} if folder == uncertain else {(0, 1), (1, 0)})
        for sample in samples:
            red, better = ("1", "2") if sample.meta["order"] == [0, 1] else ("2", "1")
            assert sample.target is not None and f"Image {red} is better" in sample.target
            assert folder == uncertain or f"Image {red} shows a red box, image #{better} a blue" in sample.target
