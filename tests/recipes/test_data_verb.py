"""The verb `data` as a user meets it: a help for each recipe, one line for each mistake, counts of all that is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import benchmark_files
import pytest

from reasoner_rm.cli import main
from reasoner_rm.data.io import write_samples
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.registry import load_benchmark
from reasoner_rm.schema import Sample

sys.path.insert(0, str(Path(__file__).parent))
import recipe_rows


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
    assert (
        "--min-confidence" not in pairs
        and "pairs that share a prompt or image stay together (default: 0.1)" in " ".join(pairs.split())
    )
    code, listed, _ = shell(capsys, "list")
    assert code == 0 and {"pocket", "pairs", "hpdv2", "mapped"} <= {line.split()[0] for line in listed.splitlines()}


def test_a_build_says_what_it_made_and_what_it_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_rows.pickapic(tmp_path / "d")
    code, out, _ = shell(capsys, "build", "pickapic", "--data", tmp_path / "d", "--out", tmp_path / "o")
    assert code == 0 and "train: 3 samples" in out and "left out: 1 rows, has_label is false" in out
    code, _, error = shell(capsys, "build", "pickapic", "--data", tmp_path / "d", "--out", tmp_path / "o")
    assert code == 2 and "exists already" in error
    assert "pickapic --data" in (tmp_path / "o" / "README.md").read_text()


def test_pairs_neither_overwrites_nor_ignores_n(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_rows.save(tmp_path, *(f"{i}.png" for i in range(12)))
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


def test_pairs_list_what_they_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_rows.save(tmp_path, *(f"{i}.png" for i in range(8)))
    rows = [f"{2 * i}.png,{2 * i + 1}.png,prompt {i},{'ac'[i % 2]}" for i in range(4)]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["image_a,image_b,prompt,preferred", *rows, "0.png,none.png,x,a"]))
    args = ("build", "pairs", "--data", table, "--out", tmp_path / "o", "--heldout", "0", "--overwrite", "--skip-bad")
    code, _, error = shell(capsys, *args)
    listed = tmp_path / "o" / "train.skipped.txt"
    assert code == 0 and f"3 bad rows, listed in {listed}; first: {table}:3: preferred is 'c'" in error
    lines = listed.read_text().splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{table}:{n}" for n in (3, 5, 6)] and "none.png" in lines[2]
    assert shell(capsys, *args, "--n", "1")[0] == 0 and not listed.exists()  # the list of an earlier build


def test_validate_ends_with_2_where_training_would_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_rows.hpdv3(tmp_path / "d")
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


@pytest.mark.parametrize(
    "args",
    [
        ("mix", "--n", "0"),
        ("mix", "--cap", "-2"),
        ("dedup", "--near", "-1"),
        ("decontaminate", "--near", "65"),
        ("filter", "--min-margin", "nan"),
        ("filter", "--max-length-ratio", "-1"),
        ("filter", "--min-new", "1.5"),
        ("validate", "--workers", "-1"),
        ("validate", "--max-tokens", "0"),
        ("pack", "--per-shard", "0"),
        ("show", "--limit", "0"),
        ("distil", "--tries", "0"),
    ],
)
def test_a_number_out_of_its_range_is_named(
    args: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, flag, value = args
    (tmp_path / "f.jsonl").write_text(json.dumps(ROW))
    more = {"decontaminate": ("--against", tmp_path / "f.jsonl"), "distil": ("--model", "m")}.get(verb, ())
    out = () if verb in ("validate", "show") else ("--out", tmp_path / "o.jsonl")
    code, _, error = shell(capsys, verb, tmp_path / "f.jsonl", flag, value, *more, *out)
    assert code == 2 and f"error: {flag} is {value}; give a number from" in error and error.count("\n") == 1


ROW = {"id": "x", "task": "image_preference", "prompt": "a cat", "images": ["a", "b"], "gold": {"p_first": 1.0}}


@pytest.mark.parametrize("verb", ["mix", "dedup", "filter", "decontaminate", "pack"])
def test_half_a_character_is_named_and_nothing_is_left_half_written(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_rows.save(tmp_path, "a", "b")
    file, other = tmp_path / "f.jsonl", tmp_path / "g.jsonl"
    file.write_text(json.dumps({**ROW, "meta": {"note": "\ud800"}}) + "\n")
    other.write_text(json.dumps({**ROW, "prompt": "something else altogether", "images": []}) + "\n")
    more = {"filter": ("--min-margin", "0.1"), "decontaminate": ("--against", other)}.get(verb, ())
    code, _, error = shell(capsys, verb, file, *more, "--out", tmp_path / "out")
    assert code == 2 and "sample 'x' holds a lone surrogate" in error and error.count("\n") == 1
    left = [p for p in (tmp_path / "out").rglob("*") if p.suffix != ".parquet" and p.is_file()]
    assert not left


@pytest.mark.parametrize("name", ["vl_rewardbench", "hpdv2", "pickapic", "pope"])
def test_a_set_is_cleaned_of_a_benchmark_by_its_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark's own items, as training rows, all go; a row of its own stays. Nothing is left lying about."""
    monkeypatch.chdir(tmp_path)
    made = getattr(benchmark_files, name)(tmp_path / "bench")
    items = load_benchmark(name, made, any_revision=True, keep=tmp_path / "kept")
    recipe_rows.frames(tmp_path, "own")
    own = Sample("own", "qa", "x", (str(tmp_path / "own" / "2.jpg"),), gold={"answer": "1", "kind": "text"})
    write_samples(tmp_path / "f.jsonl", [*items, own])
    before = sorted(tmp_path.iterdir())
    args = ("decontaminate", tmp_path / "f.jsonl", "--against", f"{name}={made}", "--near", "0")
    code, out, error = shell(capsys, *args, "--out", tmp_path / "out" / "o.jsonl")
    assert code == 0, error
    assert "kept: 1 samples" in out and f"is in {name}" in out
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])
    code, _, error = shell(capsys, *args[:3], f"vl_rewardbenhc={made}", "--out", tmp_path / "p.jsonl")
    assert code == 2 and "did you mean 'vl_rewardbench'?" in error


def test_what_a_terminal_would_obey_is_shown_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "red \x1b[31m \x07 \ud800 " + "a cat " * 20_000
    (tmp_path / "f.jsonl").write_text(json.dumps({**ROW, "id": "\x1b]0;x", "prompt": prompt}) + "\n")
    code, out, _ = shell(capsys, "show", tmp_path / "f.jsonl")
    assert code == 0 and "\x1b" not in out and "\x07" not in out and "\\x1b[31m" in out
    assert out.encode() and len(out) < 8000 and f"{len(prompt):,} characters" in out


def test_only_images_are_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row from elsewhere may name any file; its bytes must not end up in what is published."""
    (tmp_path / "secret").write_text("key = 123")
    recipe_rows.save(tmp_path / "d", "b")
    (tmp_path / "d" / "f.jsonl").write_text(json.dumps({**ROW, "images": ["../secret", "b"]}) + "\n")
    code, _, error = shell(capsys, "pack", tmp_path / "d" / "f.jsonl", "--out", tmp_path / "o")
    assert code == 2 and "secret: this is no image" in error
    assert not any(b"key = 123" in p.read_bytes() for p in (tmp_path / "o").rglob("*") if p.is_file())


def test_an_output_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_rows.hpdv3(tmp_path / "d")
    (tmp_path / "file").write_text("x")
    for args in (("build", "hpdv3", "--data", tmp_path / "d"), ("mix", tmp_path / "d" / "train.json")):
        code, _, error = shell(capsys, *args, "--out", tmp_path / "file" / "x.jsonl")
        assert code == 2 and "give another place" in error and error.count("\n") == 1
    code, _, error = shell(capsys, "build", "hpdv3", "--data", tmp_path / "d", "--out", tmp_path / "o", "--n", "-3")
    assert code == 2 and "n is -3" in error


def test_long_cells_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    ((_, row),) = rows(tmp_path / "t.csv")
    assert not isinstance(row, InputError) and len(row["a"]) == 200_000
