"""Work on built sets: validation finds what would break training; mix, dedup and the others keep account."""

from __future__ import annotations

import collections
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from reasoner_rm.data.dataset_card import entry_of
from reasoner_rm.data.duplicates import Benchmarks, decontaminate, dedup
from reasoner_rm.data.filter import Rules, apply_rules, at_least_of
from reasoner_rm.data.hashes import NearHashes, perceptual_hash
from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.data.jsonl_ops import stream, write
from reasoner_rm.data.mixing import Part, mix, parts_of, shares
from reasoner_rm.data.validation import Report, validate
from reasoner_rm.data.validation_page import histogram, in_text, write_page
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import load_vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.token_counter import Counter
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template, render

sys.path.insert(0, str(Path(__file__).parent))
import recipe_rows

DIGITS = "builtin:digits-base"


def scene(seed: int, side: int = 96) -> Image.Image:
    """A picture with shapes of its own."""
    rng = random.Random(seed)
    image = Image.new("RGB", (side, side), tuple(rng.randrange(256) for _ in range(3)))
    for _ in range(12):
        x, y = rng.randrange(side), rng.randrange(side)
        box = (x, y, x + rng.randrange(10, 50), y + rng.randrange(10, 50))
        ImageDraw.Draw(image).rectangle(box, fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def pairs(folder: Path, n: int, **fields: Any) -> Path:
    """A set of ``n`` pairs, each of images of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        for k in (0, 1):
            scene(2 * i + k).save(folder / f"{i}-{k}.jpg")
        images = tuple(str(folder / f"{i}-{k}.jpg") for k in (0, 1))
        p = float(random.Random(i).random() < 0.5)
        rows.append(Sample(f"s{i}", "image_preference", f"caption number {i}", images, gold={"p_first": p}, **fields))
    write_samples(folder / "set.jsonl", rows)
    return folder / "set.jsonl"


def break_line(file: Path, line: int, **changes: Any) -> None:
    rows = file.read_text().splitlines()
    rows[line - 1] = json.dumps({**json.loads(rows[line - 1]), **changes})
    file.write_text("\n".join(rows) + "\n")


# --- validate ---


def test_every_fault_is_found_not_just_the_first(tmp_path: Path) -> None:
    file = pairs(tmp_path / "d", 12)
    (tmp_path / "d" / "0-1.jpg").write_bytes((tmp_path / "d" / "0-1.jpg").read_bytes()[:500])
    break_line(file, 2, gold={"p_first": 7})
    break_line(file, 3, id="s3")
    break_line(file, 5, images=["5-0.jpg", "gone.jpg"])
    break_line(file, 6, images=["5-0.jpg"] * 3)
    file.write_text(file.read_text().replace('"s6"', "NaN") + '{"cut')
    report = validate(file, workers=2)
    found = {kind: (f.severity, f.count, f.examples[0]) for kind, f in report.findings.items()}
    assert report.rows == 13 and report.errors == 8
    for kind, severity, count, text in (
        ("broken image", "error", 2, f"{file}:1: {tmp_path}/d/0-1.jpg: broken image"),
        ("row does not fit its task", "error", 3, f"{file}:2: sample 's1': gold.p_first is 7"),
        ("repeated id", "error", 1, f"{file}:4: id 's3' is already on line 3"),
        ("unreadable row", "error", 2, f"{file}:7: not valid JSON"),
    ):
        assert found[kind][:2] == (severity, count) and found[kind][2].startswith(text), found[kind]
    assert "no dataset card" in found["licence missing"][2]


def test_a_sound_set_has_no_errors(tmp_path: Path) -> None:
    report = validate(pairs(tmp_path / "d", 5))
    assert report.errors == 0 and (report.rows, report.images) == (5, 10)


def test_a_winner_that_stands_first_is_noticed(tmp_path: Path) -> None:
    file = pairs(tmp_path / "d", 1)
    row = json.loads(file.read_text())

    def leak(share: float) -> Report:
        rng = random.Random(0)
        rows = [
            {**row, "id": str(i), "prompt": str(i), "gold": {"p_first": float(rng.random() < share)}}
            for i in range(300)
        ]
        recipe_rows.lines(file, rows)
        return validate(file)

    assert "position leak" in leak(0.95).findings and "position leak" not in leak(0.5).findings
    assert leak(1.0).findings["position leak"].severity == "warning" and leak(1.0).errors == 0


def test_lengths_are_what_training_sees(tmp_path: Path) -> None:
    """The same count as the encoder that feeds the model."""
    file = pairs(tmp_path / "d", 3, target="<think>x</think>\n<answer>Image 1 is better</answer>")
    counter = Counter.of(DIGITS)
    report = validate(file, lengths=counter)
    encoder = PromptEncoder(vlm := load_vlm(DIGITS, device="cpu"))
    template = load_template("image_preference")
    due = []
    for sample in load_samples(file):
        ids = encoder.encode(render(sample, template)).input_ids
        due.append(len(ids) + len(vlm.tokenizer(sample.target or "", add_special_tokens=False).input_ids))
    assert sorted(report.values["row, tokens"].elements()) == sorted(due)
    short = validate(file, lengths=counter, max_tokens=max(due) - 1)
    assert short.findings["too long"].severity == "error"


def test_a_processor_that_disagrees_with_its_grid_is_an_error(tmp_path: Path) -> None:
    counter = Counter.of(DIGITS)

    class Crooked:
        def __init__(self, inner: Any):
            self.inner = inner
            self.tokenizer, self.image_processor = inner.tokenizer, inner.image_processor

        def __call__(self, **what: Any) -> Any:
            out = self.inner(**what)
            out["input_ids"] = out["input_ids"][:, :0]
            return out

    counter.processor = Crooked(Counter.of(DIGITS).processor)
    with pytest.raises(InputError, match="has 0 placeholders, expected"):
        counter.image(scene(0))


def test_the_page_stands_alone_and_escapes(tmp_path: Path) -> None:
    file = pairs(tmp_path / "d", 3)
    break_line(file, 1, prompt="<script>alert(1)</script>")
    break_line(file, 2, gold={})
    report = validate(file)
    page = write_page(report, tmp_path / "page.html").read_text()
    assert "<script>" not in page and "data:image/webp" in page and "Training would fail: 1 error." in page
    assert "http" not in page.replace("http-equiv", "") and "error" in in_text(report)


@given(st.dictionaries(st.floats(-1e6, 1e6), st.integers(1, 99), min_size=1, max_size=60))
def test_a_histogram_loses_nothing(values: Any) -> None:
    bars = histogram(collections.Counter(values))
    assert sum(bar.count for bar in bars) == sum(values.values()) and max(bar.height for bar in bars) == 70


def test_few_values_have_their_own_labels_and_many_are_drawn_to_scale() -> None:
    few = histogram(collections.Counter({1.0: 3, 5.0: 1, 86.0: 2}))
    assert [(bar.low, bar.own, bar.height) for bar in few] == [("1", True, 70), ("5", True, 23.33), ("86", True, 46.67)]
    many = histogram(collections.Counter({float(v): 1 for v in (*range(9), 240)}))
    assert len(many) == 24 and not any(bar.own for bar in many) and [bar.count for bar in many][-2:] == [0, 1]


# --- hashes ---


def test_a_copy_has_a_near_hash_and_another_picture_none() -> None:
    def copy(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.resize((77, 77)).save(buffer, "JPEG", quality=60)
        return Image.open(buffer).convert("RGB")

    hashes = [perceptual_hash(scene(i)) for i in range(40)]
    copies = [perceptual_hash(copy(scene(i))) for i in range(40)]
    assert all((a ^ b).bit_count() <= 6 for a, b in zip(hashes, copies, strict=True))
    assert min((hashes[i] ^ hashes[j]).bit_count() for i in range(40) for j in range(i)) > 6


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 10), st.data())
def test_near_hashes_are_found_as_by_comparing_all(known: list[int], near: int, data: st.DataObject) -> None:
    index: NearHashes[int] = NearHashes(near)
    for i, value in enumerate(known):
        index.add(value, i)
    bits = data.draw(st.sets(st.integers(0, 63), max_size=12))
    asked = (data.draw(st.sampled_from(known)) if known else 0) ^ sum(1 << b for b in bits)
    assert (index.find(asked) is not None) == any((asked ^ value).bit_count() <= near for value in known)


# --- mix, dedup, decontaminate, filter ---


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 50)), min_size=1, max_size=5),
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 30),
)
def test_shares_take_what_is_there(parts: Any, n: int | None, cap: int | None) -> None:
    there = [count for _, count in parts]
    taken = shares([Part(Path("x"), w) for w, _ in parts], there, n, cap)
    most = [min(c, cap) if cap is not None else c for c in there]
    assert all(0 <= t <= m for t, m in zip(taken, most, strict=True))
    assert n is None or sum(taken) == min(n, sum(most))


def test_a_mix_follows_weights_and_seed(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        rows = [Sample(f"{i}", "qa", "?", source=name, gold={"answer": "1", "kind": "number"}) for i in range(100)]
        write_samples(tmp_path / f"{name}.jsonl", rows)
        files.append(tmp_path / f"{name}.jsonl")
    parts = parts_of([f"{files[0]}=3", str(files[1])])

    def drawn(seed: int) -> list[tuple[str, str]]:
        return [(s.source, s.id) for s in mix(parts, 80, None, seed) if isinstance(s, Sample)]

    assert [source for source, _ in drawn(0)].count("a") == 60
    assert drawn(0) == drawn(0) != drawn(1) and len(set(drawn(0))) == 80
    made = write(tmp_path / "m.jsonl", mix(parts, 80, None, 0), by="mix", inputs=files, options={"seed": 0})
    assert (made.kept, sum(made.dropped.values())) == (80, 120) and len(load_samples(tmp_path / "m.jsonl")) == 80
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "m.jsonl", mix(parts, 80, None, 0), by="mix", inputs=files, options={})
    with pytest.raises(InputError, match="the weight of a is '-1'"):
        parts_of(["a=-1"])


def test_duplicates_go_by_image_and_prompt(tmp_path: Path) -> None:
    file = pairs(tmp_path / "d", 3)
    scene(0).resize((80, 80)).save(tmp_path / "d" / "copy.jpg", quality=70)
    first = next(s for _, s in stream(file))
    swapped = first.swapped()
    near = Sample(
        "n", first.task, "Caption  number 0", (str(tmp_path / "d" / "copy.jpg"), first.images[1]), gold=first.gold
    )
    other = Sample("o", first.task, "another caption", first.images, gold=first.gold)
    rows = [*(s for _, s in stream(file)), swapped, near, other]

    def kept(**how: Any) -> list[str]:
        return [
            s.id
            for s in dedup(rows, how.get("near", 6), how.get("prompt", True), how.get("images", True))
            if isinstance(s, Sample)
        ]

    assert kept() == ["s0", "s1", "s2", "o"]
    assert kept(near=None) == ["s0", "s1", "s2", "n", "o"]
    assert kept(prompt=False) == ["s0", "s1", "s2"]
    assert kept(images=False) == ["s0", "s1", "s2", "o"]


def test_what_a_benchmark_holds_is_dropped(tmp_path: Path) -> None:
    train, bench = pairs(tmp_path / "d", 4), pairs(tmp_path / "b", 1)
    long = "the quick brown fox jumps over the lazy dog and then sleeps in the warm sun all day"
    question = Sample("q", "qa", f"Tell me: {long}", gold={"answer": "1", "kind": "number"})
    near = Sample("near", "qa", f"{long} until noon", gold=question.gold)
    fine = Sample("fine", "qa", "the quick brown fox is not here today, it went away for good", gold=question.gold)
    against = Benchmarks([("pairs", (s for _, s in stream(bench))), ("questions", [question])])
    made = list(decontaminate([*(s for _, s in stream(train)), near, fine], against))
    kept = [s.id for s in made if isinstance(s, Sample)]
    assert kept == ["s1", "s2", "s3", "fine"]
    assert [r for r in made if isinstance(r, str)] == [
        "its image is in pairs",
        "its text overlaps with questions",
    ]
    with pytest.raises(InputError, match="nothing holds no samples"):
        Benchmarks([("nothing", [])])


def answers(name: str, p: float, one: str, two: str, **meta: Any) -> Sample:
    return Sample(name, "response_preference", f"prompt {name}", responses=(one, two), gold={"p_first": p}, meta=meta)


def test_filters_name_what_they_drop() -> None:
    rows = [
        answers("clear", 1.0, "yes", "no", confidence=0.9), answers("close", 0.55, "yes", "no", confidence=0.9),
        answers("long", 0.0, "no", "y" * 50, confidence=0.9), answers("unsure", 1.0, "yes", "no", confidence=0.1),
        answers("unknown", 1.0, "yes", "no"),
    ]  # fmt: skip
    rules = Rules(min_margin=0.5, max_length_ratio=3, at_least=at_least_of(["confidence=0.5"]))
    made = list(apply_rules(rows, rules))
    assert isinstance(made[0], Sample)
    assert made[1:] == [
        "its margin is small",
        "the better answer is much longer",
        "confidence below 0.5",
        "no confidence",
    ]
    grouped = [Sample(str(i), "qa", "the same long prompt again and again", group_id="g") for i in range(3)]
    assert [isinstance(s, Sample) for s in apply_rules(grouped, Rules(max_per_group=2))] == [True, True, False]
    assert [isinstance(s, Sample) for s in apply_rules(grouped, Rules(min_new=0.5))] == [True, False, False]
    with pytest.raises(InputError, match="is no NAME=VALUE"):
        at_least_of(["confidence"])


def test_cards_of_derived_sets_keep_their_sources(tmp_path: Path) -> None:
    from data_recipes import get_recipe
    from reasoner_rm.data.build import build

    recipe_rows.hpdv3(tmp_path / "d")
    build(get_recipe("hpdv3"), tmp_path / "d", tmp_path / "out")
    source = tmp_path / "out" / "train.jsonl"
    write(
        tmp_path / "f.jsonl",
        apply_rules((s for _, s in stream(source)), Rules(min_margin=0.5)),
        by="filter",
        inputs=[source],
        options={},
    )
    entry = entry_of(tmp_path / "f.jsonl")
    assert entry is not None and entry["sources"][0]["licence"] == "mit" and entry["counts"]["left_out"]
    assert validate(tmp_path / "f.jsonl").facts["licences"] == "mit"
