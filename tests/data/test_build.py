"""From rows to JSONL: resumable to the byte, nothing lost, nothing written outside, a card for what was built."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_recipes import get_recipe
from reasoner_rm.data import build as build_module
from reasoner_rm.data.archives import unpack
from reasoner_rm.data.build import Settings, build
from reasoner_rm.data.dataset_card import entry_of, licences
from reasoner_rm.data.fetch_image import fetch, public_address
from reasoner_rm.data.io import load_samples
from reasoner_rm.data.media import Media, inside
from reasoner_rm.data.parquet import image_bytes
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))
import recipe_rows


def hpdv3(folder: Path, n: int, bad: tuple[int, ...] = ()) -> Path:
    recipe_rows.save(folder, "w.jpg", "l.jpg")
    row = {"path1": "w.jpg", "path2": "l.jpg", "choice_dist": [3, 1], "confidence": 0.9, "model1": "a", "model2": "b"}
    made = [{**row, "prompt": "" if i in bad else f"prompt {i // 2}"} for i in range(n)]
    recipe_rows.array(folder / "train.json", made)
    return folder


def captions(folder: Path, n: int) -> Path:
    """For the recipe that remembers: which mistake comes next depends on the ones before."""
    recipe_rows.save(folder, "1.jpg")
    recipe_rows.lines(folder / "train.jsonl", [{"image": "1.jpg", "caption": recipe_rows.CAPTION} for _ in range(n)])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kills"), [("hpdv3", 5), ("vicrit", 2)])
def test_a_killed_build_goes_on_to_the_same_bytes(name: str, kills: int, tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 600, bad=(5, 400)) if name == "hpdv3" else captions(tmp_path / "d", 400)
    settings = Settings(part=37, heldout=0.2, skip_bad=True, seed=3)
    build(get_recipe(name), data, tmp_path / "whole" / "set", settings, command="c")
    rng = random.Random(name)
    script = str(Path(__file__).parents[1] / "helpers" / "building_process.py")
    command = [sys.executable, script, str(data), str(tmp_path / "killed" / "set"), "37", name]
    killed = 0
    for _ in range(kills):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            work = tmp_path / "killed" / "set" / ".train.building"
            while process.poll() is None and not work.is_dir():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed
    out = tmp_path / "killed" / "set"
    done = (out / "train.jsonl").is_file() and not (out / ".train.building").is_dir()  # then it says so and tidies up
    subprocess.run(command, check=not done, stderr=subprocess.DEVNULL)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_recipe_that_remembers_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in a part's middle, well after the first: what was remembered before must make no difference."""
    data, settings, row = captions(tmp_path / "d", 150), Settings(part=17), build_module._row
    build(get_recipe("vicrit"), data, tmp_path / "whole" / "set", settings)
    calls = iter(range(100))

    def stopping(*args: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        row(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build_module, "_row", stopping)
        build(get_recipe("vicrit"), data, tmp_path / "stopped" / "set", settings)
    build(get_recipe("vicrit"), data, tmp_path / "stopped" / "set", settings)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_the_size_of_a_part_and_shards_change_nothing_but_files(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 100)
    one = build(get_recipe("hpdv3"), data, tmp_path / "one", Settings()).files["train"][0].read_bytes()
    small = build(get_recipe("hpdv3"), data, tmp_path / "small", Settings(part=7)).files["train"][0].read_bytes()
    shards = build(get_recipe("hpdv3"), data, tmp_path / "shards", Settings(part=30, shards=True)).files["train"]
    assert small == one == b"".join(file.read_bytes() for file in shards)
    assert [file.name for file in shards] == [f"train-0000{i}-of-00004.jsonl" for i in range(4)]


def test_whole_prompts_are_held_out(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 400)
    build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(heldout=0.25))
    train, held = ({s.prompt for s in load_samples(tmp_path / "out" / f"{n}.jsonl")} for n in ("train", "heldout"))
    assert not train & held and len(train | held) == 200 and 25 < len(held) < 75


def test_a_build_never_overwrites_unasked(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 10)
    build(get_recipe("hpdv3"), data, tmp_path / "out", Settings())
    with pytest.raises(InputError, match=r"train.jsonl: exists already; give another --out, or --overwrite"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings())
    build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(overwrite=True, n=3))
    assert len(load_samples(tmp_path / "out" / "train.jsonl")) == 3


def test_parts_of_another_build_are_not_gone_on_with(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 50, bad=(45,))
    with pytest.raises(InputError, match=r"train.json:46: empty prompt|train.json:1: empty prompt"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(part=10))
    with pytest.raises(InputError, match="another build was stopped here"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(part=10, seed=1))
    made = build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(part=10, skip_bad=True))
    assert (made.counts.samples["train"], made.counts.bad) == (49, 1)
    assert not (tmp_path / "out" / ".train.building").exists()


def test_mended_data_starts_over(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 5, bad=(2,))
    with pytest.raises(InputError, match="empty prompt"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings())
    hpdv3(data, 5)
    assert build(get_recipe("hpdv3"), data, tmp_path / "out", Settings()).counts.samples["train"] == 5


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 2, bad=(0, 1))
    with pytest.raises(InputError, match=r"no usable row in it; first: .*empty prompt"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(skip_bad=True))
    with pytest.raises(InputError, match=r"no table of hpdv3's split 'eval' in it; looked for eval.json"):
        build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(split="eval"))
    with pytest.raises(InputError, match="no such file or folder"):
        build(get_recipe("hpdv3"), tmp_path / "gone", tmp_path / "out", Settings())


def test_the_card_says_what_was_built(tmp_path: Path) -> None:
    data = hpdv3(tmp_path / "d", 6, bad=(1,))
    build(get_recipe("hpdv3"), data, tmp_path / "out", Settings(skip_bad=True, seed=7), command="reasoner-rm data ...")
    entry = entry_of(tmp_path / "out" / "train.jsonl")
    assert entry is not None and licences(entry) == ["mit"] and entry["counts"]["rows"] == 6
    text = (tmp_path / "out" / "README.md").read_text()
    for part in ("license: mit", "hub: MizzenAI/HPDv3", "seed 7", "samples: 5 train", "skipped: 1", "reasoner-rm data"):
        assert part in text


def test_a_hub_id_takes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` reads a folder by the same call as an id; images that have no file of their own get one."""
    recipe_rows.rlaif_v(tmp_path / "org" / "name")
    (tmp_path / "org" / "name" / "x.jpg").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reasoner_rm.data.sources.is_hub_id", lambda data: data == "org/name")
    build(get_recipe("rlaif_v"), tmp_path / "org" / "name", tmp_path / "local", Settings(n=1))
    build(get_recipe("rlaif_v"), "org/name", tmp_path / "hub", Settings(n=1))
    (local,), (hub,) = (load_samples(tmp_path / out / "train.jsonl") for out in ("local", "hub"))
    assert (local.prompt, local.responses, local.gold) == (hub.prompt, hub.responses, hub.gold)
    container, _, place = str(local.images[0]).partition("#")
    assert image_bytes(container, place) == Path(str(hub.images[0])).read_bytes()


# --- a mapping of one's own ---

MAPPING = {
    "task": "image_preference",
    "prompt": "caption",
    "images": ["left", "right"],
    "label": "winner",
    "labels": {"l": 1, "r": 0, "same": 0.5},
    "meta": {"annotator": "who"},
}


def mapped(folder: Path, rows: list[Any], mapping: Any, name: str = "train.jsonl") -> list[Any]:
    recipe_rows.save(folder, "a.jpg", "b.jpg")
    recipe_rows.lines(folder / name, rows)
    file = folder / "map.yaml"
    file.write_text(json.dumps(mapping))
    recipe = get_recipe("mapped")
    build(recipe, folder / name, folder / "out", Settings(overwrite=True), recipe.chosen(mapping=str(file)))
    return load_samples(folder / "out" / "train.jsonl")


def test_any_table_by_a_mapping(tmp_path: Path) -> None:
    row = {"caption": "a cat", "left": "a.jpg", "right": "b.jpg", "who": "Ann"}
    found = mapped(tmp_path, [{**row, "winner": w} for w in ("l", "r", "same")], MAPPING)
    p = [s.gold["p_first"] if s.meta["order"] == [0, 1] else 1 - s.gold["p_first"] for s in found]
    assert p == [1, 0, 0.5] and found[0].meta["annotator"] == "Ann"
    votes = {k: v for k, v in MAPPING.items() if k not in ("label", "labels")} | {"votes": ["x", "y"]}
    (sample,) = mapped(tmp_path, [{**row, "x": 3, "y": 1}], votes)
    assert max(sample.gold["p_first"], 1 - sample.gold["p_first"]) == 0.75
    question = {"task": "qa", "prompt": "q", "images": "pics", "gold": {"answer": "a"}}
    (sample,) = mapped(tmp_path, [{"q": "how many?", "pics": ["a.jpg", "b.jpg"], "a": 2}], question)
    assert (sample.gold, len(sample.images)) == ({"answer": "2", "kind": "text"}, 2)


def test_a_mapping_expands_rankings_and_puts_its_source_and_licence_on_the_card(tmp_path: Path) -> None:
    by = {"task": "response_preference", "prompt": "q", "responses": "says", "ranks": "places", "source": "mine"}
    row = {"q": "why?", "says": ["a", "b", "c"], "places": [2, 1, 1]}
    found = mapped(tmp_path, [row], {**by, "licence": "cc0-1.0"})
    p = [s.gold["p_first"] if s.meta["order"] == [0, 1] else 1 - s.gold["p_first"] for s in found]
    assert p == [0, 0, 0.5] and {s.source for s in found} == {"mine"} and len({s.group_id for s in found}) == 1
    assert licences(entry_of(tmp_path / "out" / "train.jsonl") or {}) == ["cc0-1.0"]
    with pytest.raises(InputError, match="3 candidates but 2 ranks"):
        mapped(tmp_path, [{**row, "places": [1, 2]}], by)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "taste"}, "task 'taste' is unknown"),
        ({"lable": "x"}, "lable: Extra inputs are not permitted; fields: task, prompt"),
        ({"p_first": "x"}, "needs one of label, p_first, votes, winner_first"),
        ({"labels": {}}, "label needs labels"),
        ({"prompt": "text"}, "no column 'text'; there is caption"),
        ({"labels": {"x": 1}}, "winner is 'l'; labels has x"),
        ({"images": ["left"]}, "1 candidates where 2 are due"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(change: Any, message: str, tmp_path: Path) -> None:
    row = {"caption": "a cat", "left": "a.jpg", "right": "b.jpg", "winner": "l", "who": "Ann"}
    with pytest.raises(InputError, match=message):
        mapped(tmp_path, [row], MAPPING | change)


# --- nothing from outside reaches out ---


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x", "..", "a/../../root2/x", "nul\x00"])
def test_a_path_cannot_leave_its_folder(path: str) -> None:
    for root in ("/data/root", ".", "data"):
        with pytest.raises(InputError, match=r"leaves the data folder|NUL"):
            inside(root, path)


def test_paths_within_are_kept(tmp_path: Path) -> None:
    assert inside("/d", "a/../b.png") == "/d/b.png" == inside("/d/", "/d/b.png")
    assert inside(".", "b.png") == "b.png" and inside("/", "/x") == "/x"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.0.0.8", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0",
        "0x7f.1", "2130706433", "::1", "::", "fe80::1", "fec0::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1",
        "::127.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1", "2001:0:7f00:1::1", "2001:db8::1", "100::1",
    ],
)  # fmt: skip
def test_private_hosts_are_never_asked(host: str) -> None:
    with pytest.raises(InputError, match=r"is no public host|unknown host"):
        public_address(host, 80)
    with pytest.raises(InputError, match=r"is no public host|unknown host"):
        fetch(f"http://[{host}]/x.png" if ":" in host else f"http://{host}/x.png")


@pytest.mark.parametrize(
    "host", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1", "::ffff:1.1.1.1"]
)
def test_public_addresses_are_public(host: str) -> None:
    assert public_address(host, 80) == host


@pytest.mark.parametrize(
    "address",
    [
        "http://[", "http://]", "http://[::1", "http://[v1.x]/", "http://[::1%25eth0]/", "http://a:70000/", "http://a:b/",
        "http://a:-1/", "http://1.1.1.1:0x50/", f"http://{'a' * 300}.example/", f"http://{'a.' * 5000}/", "http://a\0b/",
        "http://\ud800/", "http://\u200d/", "http://xn--/", "http://a\r\nHost: b/", "http://127.0.0.1\r\n/", "http://%00/",
        "http://a b/", "http://@/", "http://:80/", "http://?", "http://..", "http://\N{FULLWIDTH DIGIT ONE}27.0.0.1/",
    ],
)  # fmt: skip
def test_malformed_addresses_are_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner_rm.data.fetch_image.TIMEOUT", 0.5)
    with pytest.raises(InputError) as refused:
        fetch(address)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("address", ["ftp://example.org/x", "file:///etc/passwd", "//example.org/x.png", "http:///x"])
def test_other_schemes_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the image is an address"):
        Media(tmp_path, tmp_path).image(address)
    with pytest.raises(InputError, match="not an http address"):
        Media(tmp_path, tmp_path, remote=True).image(address)


def tarball(file: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return file


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 1
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def test_a_split_tarball_is_unpacked(tmp_path: Path) -> None:
    whole = tarball(tmp_path / "images.tar.gz", *(member(f"deep/{i}.jpg") for i in range(50))).read_bytes()
    parts = [tmp_path / f"images.tar.gz.a{c}" for c in "abc"]
    for i, part in enumerate(parts):
        part.write_bytes(whole[i * len(whole) // 3 : (i + 1) * len(whole) // 3])
    assert unpack(list(reversed(parts)), tmp_path / "out") == 50
    assert (tmp_path / "out" / "deep" / "49.jpg").read_bytes() == b"x"
    with pytest.raises(InputError, match="not a whole tarball"):
        unpack(parts[:2], tmp_path / "cut")


@pytest.mark.parametrize(
    "evil",
    [member("../evil"), member("/../../evil"), member("l", type=tarfile.SYMTYPE, linkname="/etc", size=0),
     member("h", type=tarfile.LNKTYPE, linkname="../../x", size=0), member("f", type=tarfile.FIFOTYPE, size=0)],
    ids=lambda info: info.name,
)  # fmt: skip
def test_an_archive_cannot_write_outside(evil: tarfile.TarInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        unpack([tarball(tmp_path / "x.tar.gz", evil)], tmp_path / "deep" / "out")
    assert not list(tmp_path.glob("**/evil"))


# --- tables ---


def test_a_json_array_is_read_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner_rm.data.tables._CHUNK", 7)
    made = [{"id": i, "text": "ü\n]},{" * (i % 5), "deep": [{"x": [i]}]} for i in range(40)]
    for indent in (None, 2):
        (tmp_path / "t.json").write_text(json.dumps(made, indent=indent, ensure_ascii=False), encoding="utf-8-sig")
        assert [row for _, row in rows(tmp_path / "t.json")] == made
    lines = [line for line, _ in rows(tmp_path / "t.json")]
    text = (tmp_path / "t.json").read_text().splitlines()
    assert all(text[line - 1].strip("\ufeff ") in ("{", "},{") for line in lines[1:]) and len(set(lines)) == 40


def test_a_json_array_that_is_cut_or_goes_on_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    for text, message in (('[{"a": 1}, {"a"', ":1: not valid JSON"), ('[{"a": 1}]\n[', ":2: .*after the array")):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            list(rows(file))


def test_a_broken_parquet_is_named(tmp_path: Path) -> None:
    recipe_rows.rlaif_v(tmp_path)
    file = next(tmp_path.rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable parquet file"):
        list(rows(file))


def test_a_long_parquet_is_read_by_row_group(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [str(i).encode() for i in range(100)]
    table = pa.table({"raw": data, "list": [[b"a", str(i).encode()] for i in range(100)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    assert [image_bytes(f"{tmp_path}/t.parquet", f"{i}/raw") for i in range(100)] == data
    assert image_bytes(f"{tmp_path}/t.parquet", "99/list/1") == b"99"
    refs = [row["list"][1] for _, row in rows(tmp_path / "t.parquet")]
    assert image_bytes(*refs[50].split("#")) == b"50"


def test_kept_bytes_are_written_once(tmp_path: Path) -> None:
    media, buffer = Media(tmp_path, tmp_path / "keep"), io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    one, two = media.image(buffer.getvalue()), media.image({"bytes": buffer.getvalue(), "path": None})
    assert one == two and one.endswith(".png") and len(list((tmp_path / "keep").iterdir())) == 1
