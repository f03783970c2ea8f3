"""Rankings of generated images by people: ImageReward's test, HPDv2's test, Pick-a-Pic's test_unique, Rapidata."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from reasoner_rm.data.row import DatasetRow, SkipRow, as_number
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark, compared, tables
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import HIDDEN_CAPTION


def ranked(row: DatasetRow, name: str, prompt: str, images: Sequence[str], ranks: Sequence[float]) -> Iterator[Sample]:
    """Every pair of K ranked images (1 = best), in one group; equal ranks are a tie."""
    if len(ranks) != len(images) or len(images) < 2:
        raise InputError(f"{len(images)} images but {len(ranks)} ranks", remedy="correct or remove the row")
    for i, j in itertools.combinations(range(len(images)), 2):
        better = 0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j])
        yield compared(
            row, f"{name}-{i}-{j}", "image_preference", prompt, [images[i], images[j]], better, group=name,
            meta={"places": [i, j]},
        )  # fmt: skip


def imagereward(row: DatasetRow) -> Iterable[Sample]:
    """`generations` and `ranking`, 1 = best, with gaps and ties."""
    ranks = [as_number(r, "ranking") for r in row.items("ranking", least=2)]
    yield from ranked(row, str(row.value("id")), row.text("prompt"), row.images("generations", least=2), ranks)


def hpdv2(row: DatasetRow) -> Iterable[Sample]:
    """`image_path` below test/, and `rank`, averaged over people, the lower the better."""
    folder = "test" if row.media.has("test") else ""
    images = row.images("image_path", least=2, folder=folder)
    ranks = [as_number(r, "rank") for r in row.items("rank", least=2)]
    yield from ranked(row, row.name, row.text("prompt"), images, ranks)


def pickapic(row: DatasetRow) -> Iterable[Sample]:
    """`jpg_0` and `jpg_1` are bare bytes; `label_0` is 1, 0, or 0.5 for a tie. Rows without a label are left out."""
    if row.optional("has_label") is False:
        raise SkipRow("no label")
    better = as_number(row.value("label_0"), "label_0", 0, 1)
    if better not in (0.0, 0.5, 1.0):
        raise InputError(f"label_0 is {better}", remedy="it is 0, 0.5 or 1")
    yield compared(
        row, str(row.optional("ranking_id") or row.name), "image_preference", row.text("caption"),
        [row.image("jpg_0"), row.image("jpg_1")], better,
    )  # fmt: skip


def rapidata(row: DatasetRow) -> Iterable[Sample]:
    """Votes for either image, or the shares of weighted votes; a pair of equals is a tie."""
    if "votes_image1" in row.values:
        one, two = (row.number_of(f"votes_image{i}", 0) for i in (1, 2))
    else:
        names = [f"weighted_results_image{i}_preference" for i in (1, 2)]
        if any(row.optional(name) is None for name in names):
            raise SkipRow("no preference")
        one, two = (row.number_of(name, 0) for name in names)
    if not one + two:
        raise SkipRow("no votes")
    models = [str(row.optional(f"model{i}") or "") for i in (1, 2)]
    prompt = row.text("prompt")
    yield compared(
        row, row.name, "image_preference", prompt, [row.image("image1"), row.image("image2")], one / (one + two),
        by={"models": " / ".join(sorted(models))} if all(models) else {}, group=f"prompt-{prompt}",
    )  # fmt: skip


def rapidata_as_rated(row: DatasetRow) -> Iterable[Sample]:
    """The same pairs as their raters saw them: a question and no prompt."""
    for sample in rapidata(row):
        meta = {**sample.meta, HIDDEN_CAPTION: sample.prompt}
        yield dataclasses.replace(sample, prompt="Which image do you prefer?", meta=meta)


BOTH = "each pair in both orders together"

IMAGEREWARD = Benchmark(
    "imagereward",
    "ImageReward, test",
    imagereward,
    columns=("id", "prompt", "generations", "ranking"),
    hub="THUDM/ImageRewardDB",
    licence="apache-2.0",
    tables=tables("test.json"),
    rows={"test": (466,)},
    protocols=(
        Protocol("ir_micro", f"{BOTH}, all untied pairs pooled; a tied verdict is wrong", combine="majority"),
        Protocol(
            "ir_macro", f"{BOTH}, the mean over prompts, as HPSv2's script has it", combine="majority",
            average="macro", over="group_id",
        ),
    ),
)  # fmt: skip

HPDV2 = Benchmark(
    "hpdv2",
    "HPDv2, test",
    hpdv2,
    columns=("prompt", "image_path", "rank"),
    hub="ymhao/HPDv2",
    licence="apache-2.0",
    tables=tables("test.json"),
    protocols=(
        Protocol(
            "official", f"{BOTH}; per prompt 1 - discordant pairs, where a tie on either side is no discord; mean",
            combine="majority", tie="right", average="macro", over="group_id",
        ),
        Protocol("micro", f"{BOTH}, all untied pairs pooled", combine="majority"),
    ),
)  # fmt: skip

PICKAPIC = Benchmark(
    "pickapic",
    "Pick-a-Pic v2, test_unique",
    pickapic,
    columns=("caption", "jpg_0", "jpg_1", "label_0"),
    hub="yuvalkirstain/pickapic_v2",
    splits=("test_unique", "validation_unique"),
    rows={"test_unique": (500,), "validation_unique": (500,)},
    protocols=(
        Protocol(
            "official", f"{BOTH}; a tie up to --threshold, half a point for a tie on one side alone",
            combine="majority", tie="half",
        ),
        Protocol("no_tie", f"{BOTH}, pairs with a winner", combine="majority"),
    ),
    note="pick --threshold on validation_unique, over 0, 0.1 to 1",
)  # fmt: skip

RAPIDATA = Benchmark(
    "rapidata",
    "Rapidata, human preference, with the caption",
    rapidata,
    columns=("prompt", "image1", "image2"),
    layouts=(
        ("prompt", "image1", "image2", "votes_image1", "votes_image2"),
        ("prompt", "image1", "image2", "weighted_results_image1_preference", "weighted_results_image2_preference"),
    ),
    hub="Rapidata/700k_Human_Preference_Dataset_FLUX_SD3_MJ_DALLE3",
    licence="cdla-permissive-2.0",
    splits=("train",),
    protocols=(
        Protocol("majority", f"{BOTH} against what most people preferred", combine="majority"),
        Protocol("mean", "each order for itself against what most people preferred"),
    ),
)  # fmt: skip

RAPIDATA_AS_RATED = dataclasses.replace(
    RAPIDATA, name="rapidata_as_rated", title="Rapidata, human preference, as rated: without the caption",
    read=rapidata_as_rated,
)  # fmt: skip
