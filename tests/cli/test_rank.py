"""`rank` and `screen` from the shell, on a judge with eyes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import picture, seeing_judge

from reasoner_rm import Judge, Sample, load_samples
from reasoner_rm.cli import main
from reasoner_rm.data.io import write_samples


@pytest.fixture(autouse=True)
def seeing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "from_pretrained", lambda *args, **settings: seeing_judge())


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in args])
    return int(ended.value.code or 0)


def test_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for colour in ("blue", "green", "red"):
        files.append(tmp_path / f"{colour}.png")
        picture(colour).save(files[-1])
    assert run("rank", "--model", "m", "--caption", "green, then red", *files) == 0
    assert capsys.readouterr().out.splitlines() == [f"{i}. {files[k]}" for i, k in ((1, 1), (2, 2), (3, 0))]
    assert run("rank", "--model", "m", "--caption", "red", *files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == 3


def test_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for colour in ("blue", "red"):
        picture(colour).save(tmp_path / f"{colour}.png")
    images = (str(tmp_path / "red.png"), str(tmp_path / "blue.png"))
    golds = (1.0, 0.0, 0.8, 0.5)
    rows = [Sample(f"s{i}", "image_preference", "red", images, gold={"p_first": g}) for i, g in enumerate(golds)]
    write_samples(tmp_path / "all.jsonl", rows)
    args = ("screen", tmp_path / "all.jsonl", "--model", "m", "--out", tmp_path / "kept.jsonl", "--json")
    assert run(*args) == 0
    assert json.loads(capsys.readouterr().out) == {
        "read": 4, "kept": 2, "without_label": 1, "unreadable": 0, "disagreed": 1,
    }  # fmt: skip
    assert [s.id for s in load_samples(tmp_path / "kept.jsonl")] == ["s0", "s2"]
    assert run(*args) == 2 and "exists already" in capsys.readouterr().err
