"""The verb `data` as a user meets it: a help for each recipe, one line for each mistake, counts of all that is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reasoner_rm.cli import main

sys.path.insert(0, str(Path(__file__).parent))
import fixtures


def shell(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as end:
        main(["data", *map(str, args)])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_each_recipe_has_its_own_help_with_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    _, hpdv3, _ = shell(capsys, "build", "hpdv3", "--help")
    _, pairs, _ = shell(capsys, "build", "pairs", "--help")
    assert "--min-confidence" in hpdv3 and "default: 0.0" in hpdv3 and "MizzenAI/HPDv3" in hpdv3
    assert "--min-confidence" not in pairs and "whole prompts and images (default: 0.1)" in " ".join(pairs.split())
    code, listed, _ = shell(capsys, "list")
    assert code == 0 and {"pocket", "pairs", "hpdv2", "mapped"} <= {line.split()[0] for line in listed.splitlines()}


def test_a_build_says_what_it_made_and_what_it_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixtures.pickapic(tmp_path / "d")
    code, out, _ = shell(capsys, "build", "pickapic", "--data", tmp_path / "d", "--out", tmp_path / "o")
    assert code == 0 and "train: 3 samples" in out and "left out: 1 rows, has_label is false" in out
    code, _, error = shell(capsys, "build", "pickapic", "--data", tmp_path / "d", "--out", tmp_path / "o")
    assert code == 2 and "exists already" in error
    assert "pickapic --data" in (tmp_path / "o" / "README.md").read_text()


def test_pairs_neither_overwrites_nor_ignores_n(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixtures.save(tmp_path, *(f"{i}.png" for i in range(12)))
    rows = [f"{2 * i}.png,{2 * i + 1}.png,prompt {i},a" for i in range(6)]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["image_a,image_b,prompt,preferred", *rows]))
    args = ("build", "pairs", "--data", table, "--out", tmp_path / "o", "--n", "4", "--heldout", "0.25")
    code, out, _ = shell(capsys, *args)
    assert code == 0 and "train: 3 samples" in out and "heldout: 1 samples" in out
    code, _, error = shell(capsys, *args)
    assert code == 2 and "train.jsonl: exists already" in error
    code, out, _ = shell(capsys, *args[:-2], "--heldout", "0", "--overwrite")
    assert code == 0 and not (tmp_path / "o" / "heldout.jsonl").exists()


def test_validate_ends_with_2_where_training_would_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixtures.hpdv3(tmp_path / "d")
    shell(capsys, "build", "hpdv3", "--data", tmp_path / "d", "--out", tmp_path / "o")
    file = tmp_path / "o" / "train.jsonl"
    code, out, _ = shell(capsys, "validate", file, "--html", tmp_path / "v.html", "--json")
    assert code == 0 and json.loads(out)["errors"] == 0 and (tmp_path / "v.html").is_file()
    code, out, error = shell(capsys, "validate", file, "--model", "builtin:digits-base", "--max-tokens", "10")
    assert code == 2 and "too long (3)" in out and "tokens, the limit is 10" in error and error.count("\n") == 1
    (tmp_path / "d" / "images" / "w.jpg").write_bytes(b"\xff\xd8\xff")
    code, _, error = shell(capsys, "validate", file)
    assert code == 2 and "broken image" in error and "w.jpg" in error


DISTIL = ("distil", "x", "--out", "y", "--model", "m")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    for args, message in (
        (("show", tmp_path / "t.csv"), "this is a table, not a JSONL of samples"),
        (("build", "hpdv4", "--out", tmp_path), "unknown recipe 'hpdv4'; did you mean 'hpdv3'?"),
        (("build", "hpdv3", "--out", tmp_path / "o"), "hpdv3 needs --data"),
        (("build", "mapped", "--data", tmp_path / "t.csv", "--out", tmp_path / "o"), "no usable row"),
        (("filter", tmp_path / "t.jsonl", "--out", tmp_path / "f.jsonl"), "nothing to filter by"),
        (("unpack", tmp_path / "t.csv", "--out", tmp_path / "u"), "not a whole tarball"),
        ((*DISTIL, "--url", "u", "--budget", "1"), "--budget needs --prices"),
        ((*DISTIL, "--url", "u", "--prices", "1"), "--prices is '1'; give IN,OUT"),
        ((*DISTIL, "--url", "u", "--prices=-1,2"), "--prices is '-1,2'"),
        ((*DISTIL, "--url", "u", "--prices", "1,2", "--budget", "nan"), "--budget is nan"),
        ((*DISTIL, "--url", "u", "--parallel", "0"), "--parallel is 0"),
        ((*DISTIL, "--temperature", "nan"), "--temperature is nan"),
    ):
        code, _, error = shell(capsys, *args)
        assert code == 2 and message in error and error.count("\n") == 1, error
