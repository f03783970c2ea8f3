"""VideoGen-RewardBench (arXiv 2501.13918): pairs of generated videos in four aspects, with and without ties."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, compared, tables
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import substring
from reasoner_rm.schema import Sample

ASPECTS = {"Overall": "overall", "VQ": "visual quality", "MQ": "motion quality", "TA": "text alignment"}


def reader(aspect: str) -> Callable[[DatasetRow], Iterable[Sample]]:
    """`A`, `B` or `same` in the aspect's column."""

    def read(row: DatasetRow) -> Iterable[Sample]:
        better = row.one_of(aspect, {"A": 1.0, "B": 0.0, "same": 0.5})
        models = {name: str(row.optional(name) or "") for name in ("A_model", "B_model")}
        prompt = row.text("prompt")
        yield compared(
            row, row.name, "video_preference", prompt, [row.video("path_A"), row.video("path_B")], better,
            by={"human": row.text(aspect)}, group=prompt, meta={**models, "aspect": ASPECTS[aspect]},
        )  # fmt: skip

    return read


def _benchmark(aspect: str) -> Benchmark:
    plain = aspect == "Overall"
    asked = functools.partial(Protocol, template="video_verdict" if plain else "video_aspect", parser=substring)
    return Benchmark(
        "videogen_rewardbench" if plain else f"videogen_rewardbench_{aspect.lower()}",
        f"VideoGen-RewardBench, {ASPECTS[aspect]}",
        reader(aspect),
        columns=("path_A", "path_B", "A_model", "B_model", "prompt", "VQ", "MQ", "TA", "Overall"),
        hub="KlingTeam/VideoGen-RewardBench",
        licence="apache-2.0",
        tables=(*tables("videogen-rewardbench.csv"), *tables("*.csv")),
        splits=("eval",),
        protocols=(
            asked("without_ties", "pairs that people did not tie; a tied verdict is wrong", combine="majority"),
            asked(
                "with_ties", "all pairs; what is a tie is calibrated on these very data", combine="majority",
                tie="calibrated",
            ),
            asked(
                "unifiedreward", "pairs that people did not tie, one drawn order, a substring as verdict",
                order="random",
            ),
        ),
        note="extract each film's frames into a folder of its name without suffix",
    )  # fmt: skip


OVERALL, VISUAL, MOTION, ALIGNMENT = map(_benchmark, ASPECTS)
