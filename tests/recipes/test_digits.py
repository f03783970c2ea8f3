"""The digits world: the same seed gives the same bytes, splits share nothing, and gold tells the truth."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from data_recipes import digits
from data_recipes.digits import CAPTIONS, MAKERS, OOD_CAPTIONS, SHARES, WORDS, Gallery, Split, build, scans
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task

SPLITS: tuple[Split, ...] = get_args(Split)


class Names(Gallery):
    """A gallery that draws nothing: an image's path says which scan it is."""

    def path(self, scan: digits.Scan, rng: random.Random) -> str:
        return str(scan.index)


def make(task: str, split: Split, n: int, seed: int = 0) -> list[Sample]:
    return list(MAKERS[task](n, split, seed, scans(split), Names(Path(), split, seed)))


def shown(sample: Sample) -> list[int]:
    """The digits that a sample's images really show."""
    return [digits.all_scans()[int(str(ref))].digit for ref in sample.images]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_splits_share_no_scan_and_leave_none_out() -> None:
    of = {split: {scan.index for scan in scans(split)} for split in SPLITS}
    assert {split: len(indices) for split, indices in of.items()} == SHARES
    assert sum(map(len, of.values())) == len(set().union(*of.values())) == len(digits.all_scans()) == 1797


def test_every_split_shows_every_digit() -> None:
    for split in SPLITS:
        assert {scan.digit for scan in scans(split)} == set(range(10))


def test_a_scan_is_drawn_as_often_as_asked(tmp_path: Path) -> None:
    build(tmp_path, "train", "image_preference", 60, 0, limit=4, drawings=3)
    drawn = sorted(p.stem for p in tmp_path.rglob("*.png"))
    assert {name.rsplit("-", 1)[1] for name in drawn} == {"0", "1", "2"}
    assert len({p.read_bytes() for p in tmp_path.rglob("*.png")}) == len(drawn) == 4 * 3


@pytest.mark.parametrize("task", MAKERS)
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, task: str) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build(tmp_path / name, "train", task, 8, seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_what_stood_in_the_folder_before_does_not_matter(tmp_path: Path) -> None:
    build(tmp_path / "used", "train", "image_preference", 200, 1, limit=20)
    for name in ("used", "fresh"):
        build(tmp_path / name, "train", "image_preference", 8, 2, limit=20)
    used, fresh = (load_samples(tmp_path / name / "train-image_preference.jsonl") for name in ("used", "fresh"))
    for one, other in zip(used, fresh, strict=True):
        assert [Path(str(r)).read_bytes() for r in one.images] == [Path(str(r)).read_bytes() for r in other.images]


def test_an_interrupted_drawing_is_not_taken_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, scan = Gallery(tmp_path, "train", 0), scans("train")[0]

    def half(image: Image.Image, fp: object, *args: object, **kwargs: object) -> None:
        Path(str(fp)).write_bytes(b"\x89PNG")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", half)
        with pytest.raises(KeyboardInterrupt):
            gallery.path(scan, random.Random(0))
    assert open_image(gallery.path(scan, random.Random(0))).size == (digits.SIDE, digits.SIDE)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", MAKERS)
def test_samples_are_sound(tmp_path: Path, split: Split, task: str) -> None:
    rule = get_task(task)
    samples = load_samples(build(tmp_path, split, task, 24, seed=5))  # this runs the task's check
    assert len(samples) == 24
    own = {scan.index for scan in scans(split)}
    for sample in samples:
        assert sample.target is not None
        parsed = rule.parse(sample.target, sample)
        assert parsed.well_formed, parsed.parse_error
        assert parsed.answer == rule.reference_answer(sample)
        assert rule.grade(parsed.answer or "", sample) == 1
        for ref in sample.images:
            assert open_image(ref).size == (digits.SIDE, digits.SIDE)
            assert int(Path(str(ref)).stem.split("-")[1]) in own


@pytest.mark.parametrize("split", SPLITS)
def test_gold_is_what_the_scans_show(split: Split) -> None:
    for sample in make("image_preference", split, 200):
        seen, asked = shown(sample), sample.meta["asked"]
        assert sample.meta["digits"] == seen
        assert sample.gold["p_first"] == float(seen[0] == asked) == float(seen[1] != asked)
        assert seen[sample.meta["order"].index(0)] == asked  # the right one is the source's first
        assert str(asked) in sample.prompt or WORDS[asked] in sample.prompt
    for sample in make("pointwise", split, 200):
        assert sample.meta["digits"] == shown(sample)
        assert sample.gold["score"] == (5 if shown(sample) == [sample.meta["asked"]] else 1)
        assert str(sample.meta["asked"]) in sample.prompt or WORDS[sample.meta["asked"]] in sample.prompt
    for sample in make("qa", split, 200):
        seen = shown(sample)
        assert sample.meta["digits"] == seen
        right = str(seen[0]) if len(seen) == 1 else str(1 + seen.index(max(seen)))
        assert sample.gold["answer"] == right


def test_the_reasoning_says_what_is_shown() -> None:
    for sample in make("image_preference", "train", 50):
        assert sample.target is not None
        one, two = shown(sample)
        asked = sample.meta["asked"]
        fits = ["yes" if digit == asked else "no" for digit in (one, two)]
        said = f"asks for a {asked}. Image 1 shows a {one}: {fits[0]}. Image 2 shows a {two}: {fits[1]}.</think>"
        assert said in sample.target


def test_a_swapped_sample_is_still_sound() -> None:
    task = get_task("image_preference")
    for sample in make("image_preference", "train", 50):
        swapped = sample.swapped()
        assert swapped.target is not None
        parsed = task.parse(swapped.target, swapped)
        assert task.grade(parsed.answer or "", swapped) == 1
        assert shown(swapped)[swapped.meta["order"].index(0)] == swapped.meta["asked"]


def test_answers_are_balanced() -> None:
    n = 1000
    spread = 4 * (n / 4) ** 0.5  # four standard deviations of a fair coin
    assert abs(sum(s.gold["p_first"] for s in make("image_preference", "train", n)) - n / 2) < spread
    assert abs(sum(s.gold["score"] == 5 for s in make("pointwise", "train", n)) - n / 2) < spread
    pairs = [s for s in make("qa", "train", 2 * n) if s.gold["kind"] == "choice"]
    assert abs(sum(s.gold["answer"] == "1" for s in pairs) - len(pairs) / 2) < spread


def test_ood_has_phrasings_of_its_own() -> None:
    assert not set(CAPTIONS) & set(OOD_CAPTIONS)
    for task in MAKERS:
        known = {_wording(s.prompt) for split in SPLITS if split != "ood" for s in make(task, split, 200)}
        unseen = {_wording(s.prompt) for s in make(task, "ood", 200)}
        assert unseen and not known & unseen


def _wording(prompt: str) -> str:
    return " ".join("{}" if w.strip(",") in WORDS or w.isdigit() else w for w in prompt.split())


def test_ood_looks_different() -> None:
    scan = scans("ood")[0]
    for seed in range(20):
        light = np.asarray(digits.draw(scan.ink, random.Random(seed)))
        dark = np.asarray(digits.draw(scan.ink, random.Random(seed), dark=True))
        assert np.median(light) > 150 > 105 > np.median(dark)  # the paper


def test_limit_narrows_the_pool(tmp_path: Path) -> None:
    build(tmp_path, "train", "image_preference", 50, 0, limit=12)
    assert len(list(tmp_path.rglob("*.png"))) <= 12


def test_ids_are_unique_over_splits_and_tasks() -> None:
    ids = [s.id for task in MAKERS for split in SPLITS for s in make(task, split, 20)]
    assert len(set(ids)) == len(ids)
