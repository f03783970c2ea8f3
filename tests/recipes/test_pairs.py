"""A user's own pairs: every table that people really have is read, and every slip is named with its line."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_recipes.pairs import build, connected_components, read
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task

HEADER = "image_a,image_b,prompt,preferred"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate("abcdefgh"):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{name}.png")
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "pairs.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def lines(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


def row(**fields: Any) -> dict[str, Any]:
    return {"image_a": "a.png", "image_b": "b.png", "prompt": "a cube", "preferred": "a"} | fields


def p_a(sample: Sample) -> float:
    """How much image_a is preferred, whatever the shown order."""
    p: float = sample.gold["p_first"]
    return p if sample.meta["order"] == [0, 1] else 1 - p


def only(path: Path, **options: Any) -> Sample:
    (sample,) = read(path, **options)
    return sample


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        list(read(path, **options))
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- what is read ---


def test_a_row_becomes_a_sound_sample(folder: Path) -> None:
    sample = only(write(folder, lines("a.png,b.png,a red cube,b")))
    get_task("image_preference").validate(sample)
    assert (sample.id, sample.task, sample.prompt) == ("pairs-1", "image_preference", "a red cube")
    assert (sample.source, sample.weight, sample.target) == ("pairs", 1.0, None)
    files = [Path(str(ref)).name for ref in sample.images]
    assert files == [("a.png", "b.png")[k] for k in sample.meta["order"]]
    assert sample.gold["p_first"] == float(files[0] == "b.png")


def test_the_order_is_drawn_by_seed(folder: Path) -> None:
    table = write(folder, lines(*(f"a.png,b.png,prompt {i},a" for i in range(200))))
    orders = [s.meta["order"] for s in read(table, seed=1)]
    assert orders == [s.meta["order"] for s in read(table, seed=1)]
    assert orders != [s.meta["order"] for s in read(table, seed=2)]
    assert 70 < orders.count([0, 1]) < 130
    for sample in read(table, seed=1):
        first = Path(str(sample.images[0])).name
        assert sample.gold["p_first"] == float(first == "a.png")


@pytest.mark.parametrize(
    ("preferred", "p"),
    [
        *((word, 1.0) for word in ("a", "A", " a ", "image_a", "1", "first")),
        *((word, 0.0) for word in ("b", "Image_B", "2", "second")),
        *((word, 0.5) for word in ("tie", "both", "EQUAL")),
    ],
)
def test_preferred_takes_these_words(folder: Path, preferred: str, p: float) -> None:
    assert p_a(only(write(folder, lines(f"a.png,b.png,x,{preferred}")))) == p
    assert p_a(only(write(folder, json.dumps(row(preferred=preferred)), "pairs.jsonl"))) == p


def test_numbers_for_preferred_may_be_json_numbers(folder: Path) -> None:
    rows = "\n".join(json.dumps(row(preferred=n)) for n in (1, 2))
    assert [p_a(s) for s in read(write(folder, rows, "pairs.jsonl"))] == [1, 0]


@pytest.mark.parametrize(
    ("cells", "p"),
    [
        ({"p_first": "0.25"}, 0.25),
        ({"p_first": "0"}, 0.0),
        ({"votes_a": "3", "votes_b": "1"}, 0.75),
        ({"votes_a": "0", "votes_b": "5"}, 0.0),
        ({"p_first": "0.25", "votes_a": "3", "votes_b": "1", "preferred": "tie"}, 0.25),
        ({"votes_a": "3", "votes_b": "1", "preferred": "b"}, 0.75),
        ({"p_first": "", "votes_a": "3", "votes_b": "", "preferred": "b"}, 0.0),
    ],
)
def test_soft_preferences(folder: Path, cells: Mapping[str, str], p: float) -> None:
    header, values = ",".join(cells), ",".join(cells.values())
    table = write(folder, f"image_a,image_b,prompt,{header}\na.png,b.png,x,{values}\n")
    assert p_a(only(table)) == pytest.approx(p)


def test_optional_columns_and_extras(folder: Path) -> None:
    header = f"{HEADER},id,group_id,weight,source,annotator,empty"
    table = write(folder, f"{header}\na.png,b.png,x,a,mine,g,0.5,lab,Ann,\n")
    sample = only(table)
    assert (sample.id, sample.group_id, sample.weight, sample.source) == ("mine", "g", 0.5, "lab")
    assert {k: v for k, v in sample.meta.items() if k != "order"} == {"annotator": "Ann"}
    deep = write(folder, json.dumps(row(tags=["x", 1], weight=2, note=None)), "deep.jsonl")
    sample = only(deep)
    assert (sample.meta["tags"], sample.weight, "note" in sample.meta) == (["x", 1], 2, False)


def test_rows_of_one_prompt_share_a_group(folder: Path) -> None:
    table = write(folder, lines("a.png,b.png,a red cube,a", "c.png,d.png,A  red cube,b", "e.png,f.png,a cube,b"))
    one, two, three = (s.group_id for s in read(table))
    assert one == two != three


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_dialects(folder: Path, delimiter: str, end: str, mark: bytes) -> None:
    """Prompts are full of commas and quotes, so the header alone decides."""
    text = io.StringIO()
    others = "".join(9 * other for other in ",;\t|" if other != delimiter)
    prompt = f'a "red" cube,\n{others}; ü'
    table = csv.writer(text, delimiter=delimiter, lineterminator=end)
    table.writerows([HEADER.split(","), ["a.png", "b.png", prompt, "a"], [], ["", "", "", ""]])
    assert only(write(folder, mark + text.getvalue().encode())).prompt == prompt


def test_columns_may_stand_in_any_order_beside_an_index(folder: Path) -> None:
    assert p_a(only(write(folder, ",prompt,preferred,image_b,image_a\n0,x,b,b.png,a.png\n"))) == 0


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.json"])
def test_a_folder_stands_for_its_table(folder: Path, name: str) -> None:
    tab = lines("a.png,b.png,x,a").replace(",", "\t")
    text = {".csv": lines("a.png,b.png,x,a"), ".tsv": tab, ".jsonl": json.dumps(row()), ".json": json.dumps([row()])}
    write(folder, text[Path(name).suffix], name)
    assert only(folder).images == only(folder / name).images


def test_images_may_stand_elsewhere(folder: Path) -> None:
    (folder / "sub").mkdir()
    table = write(folder / "sub", lines(f"../a.png,{folder}/b.png,x,a"))
    assert {Path(str(ref)).resolve() for ref in only(table).images} == {folder / "a.png", folder / "b.png"}


# --- what is refused ---


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("a.png,b.png,,a", "empty prompt; fill it in or remove the row"),
        ("a.png,b.png,  ,a", "empty prompt"),
        (",b.png,x,a", "empty image_a"),
        ("a.png,gone.png,x,a", "no such image .*gone.png"),
        ("a.png,b.png,x,", "no preference; fill in preferred"),
        ("a.png,b.png,x,c", "preferred is 'c'; use one of a, image_a, 1, first, b"),
        ("a.png,b.png,x,0", "preferred is '0'; use one of a, image_a, 1, first, b"),
        ("a.png,b.png,x", "3 cells under 4 columns; put a text that holds ',' in double quotes"),
        ("a.png,b.png,x, y,a", "5 cells under 4 columns; put a text"),
        ("a.png,b.png,x\x00,a", "sample .* holds a NUL"),
    ],
)
def test_a_bad_row_is_named_with_its_line(folder: Path, cells: str, message: str) -> None:
    table = write(folder, lines('a.png,b.png,"two\nlines",a', cells))
    assert re.match(re.escape(f"{table}:4: ") + message, error_of(table)), error_of(table)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"p_first": 1.5}, "p_first is 1.5; give a number from 0 to 1"),
        ({"p_first": "nan"}, "p_first is 'nan'"),
        ({"p_first": [1]}, r"p_first is \[1\]"),
        ({"votes_a": -1, "votes_b": 2}, "votes_a is -1; give a number from 0$"),
        ({"votes_a": 0, "votes_b": 0}, "no votes for either image; remove the row, or state preferred: tie"),
        ({"weight": "heavy"}, "weight is 'heavy'; give a number"),
        ({"weight": 1e999}, "not valid JSON: .*Infinity"),
        ({"weight": "inf"}, "weight is 'inf'"),
        ({"prompt": 7}, "prompt is 7; give a text"),
        ({"image_a": ["a.png"]}, "image_a is .*; give a text"),
        ({"order": [0, 1]}, "no column may be called 'order'; rename it"),
        ({"prompt": "half \ud83d"}, "sample .* holds a lone surrogate"),
        ({"image_a": "nul\x00.png"}, "no such image|image_a"),
        ({"preferred": {"x": 1}}, "preferred is .*; use one of"),
    ],
)
def test_a_bad_field_is_named_with_its_line(folder: Path, fields: Mapping[str, Any], message: str) -> None:
    table = write(folder, json.dumps(row()) + "\n\n" + json.dumps(row(**fields)) + "\n", "pairs.jsonl")
    assert re.match(re.escape(f"{table}:3: ") + f"({message})", error_of(table)), error_of(table)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "img_a,image_b,prompt,preferred",
            "no column 'image_a' (did you mean 'img_a'?); rename or add; there is img_a,",
        ),
        ("Image_A,image_b,prompt,preferred", "no column 'image_a' (did you mean 'Image_A'?)"),
        ("image_a,image_b,caption,preference", "no column 'prompt', 'preferred' (did you mean 'preference'?)"),
        ("image_a,image_b,prompt", "no column 'preferred'; rename or add; there is image_a, image_b, prompt"),
        ("image_a,image_b,prompt,votes_a", "no column 'preferred'"),
        ("image_a,image_b,prompt,prompt,preferred", "two columns have the same name"),
        ("a.png,b.png,a cube,a", "no column 'image_a', 'image_b', 'prompt', 'preferred'"),
    ],
)
def test_a_missing_column_is_an_error_of_the_table(folder: Path, header: str, message: str) -> None:
    table = write(folder, f"\n{header}\n{'x,' * header.count(',')}x\n")
    for skip_bad in (False, True):
        assert error_of(table, skip_bad=skip_bad).startswith(f"{table}:2: {message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", b"", ": the file is empty; a header and at least one row are needed"),
        ("pairs.jsonl", b" \n\n", ": the file is empty"),
        ("pairs.csv", HEADER.encode(), ": no usable pair in it; add rows"),
        ("pairs.json", b"[]", ": no usable pair in it; add rows"),
        ("pairs.csv", lines("a.png,b.png,x,a", "a.png,b.png,r\xe9d,a").encode("latin-1"), ":3: not UTF-8; save the"),
        ("pairs.csv", lines("a.png,b.png,x,a").encode("utf-16"), ":1: not UTF-8; save the table as UTF-8"),
        (
            "pairs.csv",
            lines("a.png,b.png,x,a", 'a.png,b.png,"x,a').encode(),
            ":3: unexpected end of data; close the quote",
        ),
        ("pairs.jsonl", json.dumps(row()).encode() + b'\n{"image_a": "a.p', ":2: not valid JSON: .*cut off.; repair"),
        ("pairs.jsonl", b"[1]\n", ":1: a row is a JSON object, this is list"),
        ("pairs.jsonl", b'{"image_a": "a.png"}\n', ":1: no column 'image_b', 'prompt', 'preferred'"),
        ("pairs.json", b"[\n{},\n{]", ":3: not valid JSON: .*; repair it"),
        ("pairs.json", json.dumps(row(), indent=1).encode(), ": not a JSON array; write"),
        ("pairs.json", f"{json.dumps(row())}\n\n{json.dumps(row(prompt=''))}\n".encode(), ":3: empty prompt"),
        ("pairs.json", b'[\n{"image_a": "[a\\\\],"},\n7]', ":2: no column 'image_b'"),
        ("pairs.json", json.dumps([row(), row(prompt="")], indent=1).encode(), ":8: empty prompt"),
        ("pairs.json", b"[\n\n7]", ":3: a row is a JSON object, this is 7"),
        ("pairs.json", f"[{json.dumps(row())},\n\n  {json.dumps(row(prompt=''))}]".encode(), ":3: empty prompt"),
        ("pairs.xlsx", b"PK", ": not a table by its suffix; use .csv, .tsv, .jsonl, .json"),
    ],
)
def test_a_bad_table_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    table = write(folder, content, name)
    assert re.match(re.escape(str(table)) + message, error_of(table)), error_of(table)


def test_a_folder_without_one_table_is_an_error(folder: Path) -> None:
    assert error_of(folder).startswith(f"{folder}: holds no table of pairs; name one table")
    write(folder, "", "pairs.csv")
    write(folder, "", "pairs.jsonl")
    assert error_of(folder).startswith(f"{folder}: holds pairs.csv and pairs.jsonl; name one table")
    assert "no such file" in error_of(folder / "gone.csv")


def test_an_id_stands_once(folder: Path) -> None:
    table = write(folder, f"{HEADER},id\na.png,b.png,x,a,1\nc.png,d.png,y,a,1\n")
    assert error_of(table) == f"{table}:3: id '1' is already on line 2; make ids unique"


def test_bad_rows_are_skipped_when_asked_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [json.dumps(row(preferred="c")), json.dumps(row(prompt="good")), '{"cut', json.dumps(row(prompt="fine"))]
    table = write(folder, "\n".join(rows), "pairs.jsonl")
    skipped: list[InputError] = []
    with caplog.at_level(logging.WARNING):
        samples = list(read(table, skip_bad=True, skipped=skipped))
    assert [(s.id, s.prompt) for s in samples] == [("pairs-2", "good"), ("pairs-4", "fine")]
    assert [str(e).split(": ")[0] for e in skipped] == [f"{table}:1", f"{table}:3"]
    assert f"{table}: 2 of 4 rows skipped; the first: {table}:1: preferred is 'c'" in caplog.text


def test_skipping_everything_is_an_error(folder: Path) -> None:
    table = write(folder, lines("a.png,b.png,x,c", "a.png,b.png,x,d"))
    assert error_of(table, skip_bad=True).startswith(
        f"{table}: no usable pair in it; first: {table}:2: preferred is 'c'"
    )


# --- building ---


def keys(sample: Sample) -> set[str]:
    return {sample.group_id, *(Path(str(ref)).name for ref in sample.images)}


def test_the_splits_share_no_image_and_no_prompt(folder: Path) -> None:
    rng = random.Random(0)
    for i in range(60):
        Image.new("RGB", (4, 4), (i, 1, 0)).save(folder / f"{i}.png")
    rows = []
    for _ in range(40):
        a, b = rng.sample(range(60), 2)
        rows.append(f"{a}.png,{b}.png,prompt {rng.randrange(30)},{rng.choice('ab')}")
    source = write(folder, lines(*rows))
    files = build(source, folder / "out", heldout=0.2)
    train, held = (load_samples(files[name]) for name in ("train", "heldout"))
    assert list(files) == ["train", "heldout"] and files["train"] == folder / "out" / "train.jsonl"
    assert len(train) + len(held) == 40 and 1 <= len(held) <= 8
    assert not {k for s in train for k in keys(s)} & {k for s in held for k in keys(s)}
    again = build(source, folder / "again", heldout=0.2)
    assert [[s.id for s in load_samples(f)] for f in (again["train"], again["heldout"])] == [
        [s.id for s in part] for part in (train, held)
    ]


def test_copies_of_an_image_under_other_names_stay_together(folder: Path) -> None:
    for i in range(8):
        (folder / f"copy{i}.png").write_bytes((folder / "a.png").read_bytes())
    rows = [f"copy{i}.png,{name}.png,prompt {i},a" for i, name in enumerate("bcdefgh")]
    with pytest.raises(InputError, match=r"all pairs are connected .* add pairs of other prompts and images"):
        build(write(folder, lines(*rows)), folder / "out")
    assert list(build(folder, folder / "out", heldout=0)) == ["train"]


def test_the_share_held_out(folder: Path) -> None:
    for i in range(200):
        Image.new("RGB", (2, 2), (i, 2, 0)).save(folder / f"{i}.png")
    source = write(folder, lines(*(f"{2 * i}.png,{2 * i + 1}.png,prompt {i},a" for i in range(100))))
    sizes = {
        share: len(load_samples(build(source, folder / "out", heldout=share)["heldout"])) for share in (0.001, 0.1, 0.5)
    }
    assert sizes == {0.001: 1, 0.1: 10, 0.5: 50}
    held = [{s.id for s in load_samples(build(source, folder / "out", seed=seed)["heldout"])} for seed in (1, 2)]
    assert held[0] != held[1]


def test_a_share_below_the_smallest_group_holds_out_that_group(folder: Path) -> None:
    rows = [f"{a}.png,{b}.png,{prompt},a" for a, b, prompt in ("abx", "acx", "bcx", "dey", "efy")]
    files = build(write(folder, lines(*rows)), folder / "out", heldout=0.1)
    assert [s.prompt for s in load_samples(files["heldout"])] == ["y", "y"]


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(folder: Path, share: float) -> None:
    with pytest.raises(InputError, match=r"heldout is .*; give a share from 0 to below 1"):
        build(write(folder, lines("a.png,b.png,x,a")), folder / "out", heldout=share)


def test_images_stay_in_place(folder: Path) -> None:
    source = write(folder, lines("a.png,b.png,x,a", "c.png,d.png,y,b"))
    files = build(source, folder / "out" / "deep")
    refs = [ref for f in files.values() for r in f.read_text().splitlines() for ref in json.loads(r)["images"]]
    assert sorted(refs) == [f"../../{name}.png" for name in "abcd"]
    assert not list((folder / "out").rglob("*.png"))


def test_a_broken_image_is_named_with_its_row(folder: Path) -> None:
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:45])
    source = write(folder, lines("a.png,c.png,x,a", "a.png,b.png,y,a"))
    with pytest.raises(InputError, match=re.escape(f"{source}:3: {folder}/b.png: broken image")):
        build(source, folder / "out")
    assert not (folder / "out").exists()
    build(source, folder / "out", heldout=0, skip_bad=True)
    assert len(load_samples(folder / "out" / "train.jsonl")) == 1


def test_a_pair_of_one_image_is_refused(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    source = write(folder, lines("a.png,copy.png,x,a"))
    with pytest.raises(InputError, match=":2: image_a and image_b are the same image; correct or drop the row"):
        build(source, folder / "out")


def test_a_repeated_row_is_another_vote(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write(folder, lines("a.png,b.png,x,a", "b.png,a.png,x,a", "c.png,d.png,y,a"))
    with caplog.at_level(logging.WARNING):
        files = build(source, folder / "out", heldout=0)
    assert len(load_samples(files["train"])) == 3
    assert "1 rows repeat a pair; each counts as a vote of its own" in caplog.text


@given(st.dictionaries(st.text(max_size=2), st.lists(st.integers(0, 9), max_size=3), max_size=12))
def test_connected_components_are_what_a_search_finds(shared: Mapping[str, Sequence[int]]) -> None:
    found = connected_components(shared)
    assert sorted(name for island in found for name in island) == sorted(shared)
    for name, mine in shared.items():
        reached, frontier = {name}, [set(mine)]
        while frontier:
            known = frontier.pop()
            for other, theirs in shared.items():
                if other not in reached and known & set(theirs):
                    reached.add(other)
                    frontier.append(set(theirs))
        assert reached == set(next(island for island in found if name in island))
