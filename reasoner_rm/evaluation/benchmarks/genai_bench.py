"""GenAI-Bench (arXiv 2406.04485): two generated images, edits or videos, one better, or both good, or both bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reasoner_rm.data.fetch_image import is_remote
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, compared
from reasoner_rm.evaluation.protocol import Parser, Protocol
from reasoner_rm.evaluation.verdict_parsers import four_way, four_way_released, gold_substring, substring
from reasoner_rm.schema import Sample

VOTES = {
    "leftvote": (1.0, {}), "rightvote": (0.0, {}), "tievote": (0.5, {"tie": "good"}),
    "bothbad_vote": (0.5, {"tie": "bad"}),
}  # fmt: skip


def _models(row: DatasetRow) -> dict[str, str]:
    return {name: str(row.optional(name) or "") for name in ("left_model", "right_model")}


def image(row: DatasetRow) -> Iterable[Sample]:
    """`left_image`, `right_image` and `vote_type`."""
    better, tie = row.one_of("vote_type", VOTES)
    yield compared(
        row, row.name, "image_preference", row.text("prompt"), [row.image("left_image"), row.image("right_image")],
        better, gold=tie, by={"vote": row.text("vote_type")}, group=row.text("prompt"), meta=_models(row),
    )  # fmt: skip


def edit(row: DatasetRow) -> Iterable[Sample]:
    """`source_image` and the results of two editors."""
    better, tie = row.one_of("vote_type", VOTES)
    yield compared(
        row, row.name, "edit_preference", row.text("instruct_prompt"),
        [row.image("left_output_image"), row.image("right_output_image")], better, gold=tie,
        by={"vote": row.text("vote_type")}, shared=[row.image("source_image")], group=row.text("instruct_prompt"),
        meta=_models(row),
    )  # fmt: skip


def video(row: DatasetRow) -> Iterable[Sample]:
    """`left_video` and `right_video` are addresses: their frames stand in folders of the same names below --images."""
    better, tie = row.one_of("vote_type", VOTES)
    films = [_frames(row, "left_video"), _frames(row, "right_video")]
    yield compared(
        row, row.name, "video_preference", row.text("prompt"), films, better, gold=tie,
        by={"vote": row.text("vote_type")}, group=row.text("prompt"), meta=_models(row),
    )  # fmt: skip


def _frames(row: DatasetRow, column: str) -> str | tuple[str, ...]:
    value = row.value(column)
    local = isinstance(value, str) and is_remote(value)
    return row.media.video(value.rpartition("/")[2]) if local else row.video(column)


def _benchmark(
    name: str,
    config: str,
    read: Callable[[DatasetRow], Iterable[Sample]],
    columns: tuple[str, ...],
    rows: dict[str, tuple[int, ...]],
    unifiedreward: Sequence[Protocol],
) -> Benchmark:
    template = f"four_way_{name}"
    return Benchmark(
        f"genai_bench_{name}",
        f"GenAI-Bench, {config.replace('_', ' ')}",
        read,
        columns=(*columns, "vote_type"),
        hub="TIGER-Lab/GenAI-Bench",
        config=config,
        licence="cc-by-4.0",
        tables=tuple(f"{folder}{{split}}-*.parquet" for folder in ("", f"{config}/", f"data/{config}/", "**/")),
        splits=("test_v1", "test"),
        rows=rows,
        protocols=(
            Protocol(
                "fourway", "exact match of four verdicts, the last one counts; unreadable is wrong", order="given",
                tie="exact", template=template, parser=four_way,
            ),
            Protocol(
                "official", "the same as the released script reads: two verdicts on one line fail", order="given",
                tie="exact", template=template, parser=four_way_released,
            ),
            *unifiedreward,
            Protocol(
                "no_tie_both", "pairs with a winner in both orders; a tied verdict is wrong", template=template,
                parser=four_way,
            ),
        ),
    )  # fmt: skip


def _no_tie(kind: str, parser: Parser, found: str, name: str = "no_tie") -> Protocol:
    """How UnifiedReward's scripts score."""
    about = f"pairs with a winner, a drawn order, {found} (UnifiedReward)"
    return Protocol(name, about, order="random", template=f"{kind}_verdict", parser=parser)


GENAI_IMAGE = _benchmark(
    "image", "image_generation", image, ("prompt", "left_image", "right_image"), {"test_v1": (1735,)},
    [_no_tie("image", gold_substring, "the right verdict anywhere")],
)  # fmt: skip
GENAI_EDIT = _benchmark(
    "edit", "image_edition", edit, ("instruct_prompt", "source_image", "left_output_image", "right_output_image"),
    {"test_v1": (919,), "test": (983,)}, [_no_tie("edit", gold_substring, "the right verdict anywhere")],
)  # fmt: skip
GENAI_VIDEO = _benchmark(
    "video", "video_generation", video, ("prompt", "left_video", "right_video"), {"test_v1": (1069,)},
    [
        _no_tie("video", substring, "Video 1 anywhere, else Video 2"),
        _no_tie("video", gold_substring, "the right verdict anywhere, as its script for Qwen3-VL", "no_tie_qwen3vl"),
    ],
)  # fmt: skip
