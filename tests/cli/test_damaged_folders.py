"""What verbs say of folders that another process writes to, that are damaged, or that have no room left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_files import vl_rewardbench
from file_limit import file_limit
from PIL import Image
from shell import Outcome, fails, shell

from data_recipes import get_recipe
from reasoner_rm.data import build
from reasoner_rm.data.io import load_samples
from reasoner_rm.log import warn_once
from reasoner_rm.utils.locks import LOCK, file_lock, folder_lock

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import recipe_rows

JUDGE = """
def judge(sample):
    return "Overall Judgment: Answer 1 is better."
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs read."""
    folder = tmp_path_factory.mktemp("given")
    recipe_rows.hpdv3(folder / "hpdv3")
    vl_rewardbench(folder / "benchmark")
    (folder / "judge.py").write_text(JUDGE)
    rows = ["image_a,image_b,prompt,preferred"]
    for i in range(12):
        Image.new("RGB", (60, 60), (20 * i, 40, 90)).save(folder / f"{i}.png")
    rows += [f"{2 * i}.png,{2 * i + 1}.png,a long prompt about the picture of number {i},a" for i in range(6)]
    (folder / "pairs.csv").write_text("\n".join(rows))
    assert shell("data", "build", "pairs", "--data", folder / "pairs.csv", "--out", folder / "built").returncode == 0
    return folder


Verb = Callable[[Path, Path], tuple[str | Path, ...]]
FOLDERS: dict[str, Verb] = {
    "recipe": lambda g, out: ("data", "build", "hpdv3", "--data", g / "hpdv3", "--out", out),
    "pairs": lambda g, out: ("data", "build", "pairs", "--data", g / "pairs.csv", "--out", out),
    "pocket world": lambda g, out: ("data", "build", "pocket", "--n", "3", "--out", out),
    "digits": lambda g, out: ("data", "build", "digits", "--n", "3", "--out", out),
    "pack": lambda g, out: ("data", "pack", g / "built" / "train.jsonl", "--out", out),
    "eval": lambda g, out: (
        "eval", "vl_rewardbench", "--data", g / "benchmark", "--any-revision", "--model", f"{g / 'judge.py'}:judge",
        "--out", out,
    ),
}  # fmt: skip
FILES: dict[str, Verb] = {
    "mix": lambda g, out: ("data", "mix", g / "built" / "train.jsonl", "--out", out),
    "distil": lambda g, out: (
        "data", "distil", g / "built" / "train.jsonl", "--url", "http://127.0.0.1:9/v1", "--model", "m", "--out", out,
    ),
    "publish": lambda g, out: ("publish", g / "no-run", "--repo-id", "a/b", "--dry-run", "--out", out),
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_the_second_to_write_somewhere_is_refused(name: str, given: Path, tmp_path: Path) -> None:
    """Before it asks a model or changes a file."""
    out = tmp_path / "new" / "out.jsonl"
    with folder_lock(out) if name in FOLDERS else file_lock(out):
        before = contents(tmp_path)
        line = fails(*(FOLDERS | FILES)[name](given, out))
        assert f"{out}: another process is writing here; wait for it, or give another place" in line
        assert contents(tmp_path) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.server
def test_two_real_processes(tmp_path: Path) -> None:
    """The first is not disturbed, and once it is killed nothing stands in the way of the next."""
    out = tmp_path / "out"
    command = ["data", "build", "pocket", "--n", "3000", "--out", str(out)]
    first = subprocess.Popen([sys.executable, "-m", "reasoner_rm", *command])
    until = time.monotonic() + 60
    while not (out / LOCK).exists() and first.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    assert "another process is writing here" in fails(*command)
    first.kill()
    first.wait()
    assert shell(*command[:4], "5", *command[5:]).returncode == 0
    assert len(load_samples(out / "train-image_preference.jsonl")) == 5 and not (out / LOCK).exists()


@pytest.mark.parametrize("limit", [0, 150, 2000])
@pytest.mark.parametrize("name", [*FOLDERS, "mix"])
def test_a_full_disk_is_one_line_and_the_next_try_is_whole(
    name: str, limit: int, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the same command in both folders: it is on the dataset card
    verb, out = (FOLDERS | FILES)[name], Path("out") / "train.jsonl" if name in FILES else Path("out")
    with file_limit(limit):
        refused = shell(*verb(given, out))
    if refused.returncode == 0:
        return  # what it writes is smaller
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert refused.returncode == 1 and len(errors) == 1 and "Traceback" not in refused.stderr, refused.stderr
    assert "out" in errors[0] and "cannot be written (File too large); make room and start again" in errors[0]
    named = [p for p in Path().rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.parts)]
    for file in named:  # what has its name is whole
        if file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix in (".json", ".jsonl"):
            assert file.stat().st_size
            for text in [file.read_text()] if file.suffix == ".json" else file.open():
                json.loads(text)
    assert shell(*verb(given, out), *(["--overwrite"] if "data" in verb(given, out) else [])).returncode == 0
    assert not [p for p in Path().rglob(".*")], "something is left of the first try"


def evaluate(given: Path, out: Path) -> Outcome:
    warn_once.cache_clear()
    return shell(*FOLDERS["eval"](given, out), "--blind")


@pytest.fixture
def evaluated(given: Path, tmp_path: Path) -> Path:
    assert evaluate(given, tmp_path / "out").returncode == 0
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["predictions.jsonl", "blind.jsonl"])
def test_a_damaged_answer_is_asked_for_again(name: str, given: Path, evaluated: Path) -> None:
    before = json.loads((evaluated / "scores.json").read_text())
    lines = (evaluated / name).read_bytes().splitlines(keepends=True)
    for damage in (b'{"id": \n', b"[1]\n", b"\xff\n", lines[2].replace(b'"votes"', b'"vots"')):
        (evaluated / name).write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        line = fails("rescore", evaluated)
        assert f"{name}:3: " in line
        done = evaluate(given, evaluated)
        assert done.returncode == 0 and f"{name}:3: " in done.stderr and f"set aside in {name}.damaged" in done.stderr
        assert json.loads((evaluated / "scores.json").read_text()) == before
    assert len((evaluated / name).read_bytes().splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("name", "damage", "verb"),
    [
        ("scores.json", b"{", "compare"),
        ("scores.json", b"\xff", "compare"),
        ("items.jsonl", b"[]\n", "rescore"),
        ("items.jsonl", b"\xff\n", "rescore"),
        (
            "predictions.jsonl",
            b'{"benchmark": "vl_rewardbench", "protocol": "official", "asked": {"odr": 1}}\n',
            "rescore",
        ),
        ("predictions.jsonl", b'{"benchmark": "vl_rewardbench", "protocol": "official", "asked": [1]}\n', "rescore"),
        ("predictions.jsonl", b'{"bench": 1}\n', "rescore"),
        ("predictions.jsonl", b"[]\n", "rescore"),
    ],
)
def test_damaged_results_are_one_line(name: str, damage: bytes, verb: str, evaluated: Path) -> None:
    (evaluated / name).write_bytes(damage)
    args = ("eval", "compare", evaluated, evaluated) if verb == "compare" else ("rescore", evaluated)
    assert str(evaluated / name) in fails(*args)


def test_a_damaged_dataset_card_is_not_written_over(given: Path, tmp_path: Path) -> None:
    """It names sources and licences that nothing else does."""
    shutil.copytree(given / "built", tmp_path / "built")
    card = tmp_path / "built" / "dataset.json"
    card.write_bytes(whole := card.read_bytes()[:-9])
    line = fails(*FILES["mix"](tmp_path, tmp_path / "built" / "mixed.jsonl"))
    assert "dataset.json:" in line and "not valid JSON" in line and "repair it, or remove it" in line
    assert card.read_bytes() == whole


def test_a_part_of_a_build_with_a_damaged_manifest_is_made_again(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out, settings = get_recipe("hpdv3"), tmp_path / "out", build.Settings(part=1)
    build.build(recipe, given / "hpdv3", out, settings)
    want = (out / "train.jsonl").read_bytes()
    shutil.rmtree(out)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(build, "_finish", lambda *args: sys.exit(9))
        build.build(recipe, given / "hpdv3", out, settings)
    manifests = sorted(out.rglob("*.manifest.json"))
    assert len(manifests) > 1
    manifests[1].write_bytes(b'{"rows": "one"}')
    warn_once.cache_clear()
    build.build(recipe, given / "hpdv3", out, settings)
    assert f"{manifests[1]}: damaged (" in capsys.readouterr().err
    assert (out / "train.jsonl").read_bytes() == want
