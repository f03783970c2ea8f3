"""Seconds to score stored votes of a benchmark: 1,250 pairs, both orders, five votes each (12,500 texts).

Timed are reading the files, parsing every verdict, all metrics with 2,000 bootstrap rounds, subgroups, baselines, the
majority curve, and writing `scores.json`; separately, the HTML page with its images. Medians of several runs.

python benchmarks/rescore.py --json benchmarks/results/rescore.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reasoner_rm.data.media import Media
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.runner import EvaluatedModel, rescore, run
from reasoner_rm.report.benchmark import write_benchmark_report
from reasoner_rm.schema import Sample

PAIRS, VOTES, WORDS, RUNS = 1250, 5, 300, 5
PREFIXES = ("hallucination_pair-", "RLAIF-V-", "wildvision_", "mathverse_", "mmmu_pro-", "RLHF-V-", "VLFeedback-")


def items() -> list[Sample]:
    benchmark = get_benchmark("vl_rewardbench")
    media = Media(Path("data"), Path("keep"))
    rows = [
        {
            "id": f"{PREFIXES[i % 7]}{i}", "query": f"Question {i}?", "response": ["a " * 150, "b " * 140],
            "image": f"{i}.png", "human_ranking": [0, 1],
        }
        for i in range(PAIRS)
    ]  # fmt: skip
    return [s for i, row in enumerate(rows) for s in benchmark.read(DatasetRow(row, f"test-{i}", i, media))]


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Median wall and CPU seconds; other load on the machine affects the CPU time less."""
    wall, cpu = [], []
    for _ in range(RUNS):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"wall": round(statistics.median(wall), 3), "process": round(statistics.median(cpu), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    args = parser.parse_args()
    rng = random.Random(0)
    prose = " ".join(rng.choice(("the", "answer", "image", "shows", "therefore", "red")) for _ in range(WORDS))

    def judge(sample: Sample) -> str:
        if rng.random() < 0.01:
            return prose
        return f"{prose}\n\n**Overall Judgment**: Answer {rng.choice('12')} is better."

    benchmark = get_benchmark("vl_rewardbench")
    protocol = benchmark.protocol("both_orders").with_options(votes=VOTES)
    with tempfile.TemporaryDirectory() as folder:
        run(
            benchmark,
            items(),
            EvaluatedModel(CallablePredictor(judge), {"model": "random"}),
            protocol,
            folder,
            batch=500,
        )
        result: dict[str, object] = {"pairs": PAIRS, "votes": PAIRS * 2 * VOTES}
        for name in ("both_orders", "official", "unifiedreward", "r1_reward", "lmms_eval"):
            options = {"votes": VOTES} if name in ("both_orders", "official") else {}
            result[f"{name}, seconds"] = timed(lambda name=name, options=options: rescore(folder, name, **options))
        result["page, seconds"] = timed(lambda: write_benchmark_report(folder))
    result["machine"] = f"{platform.machine()}, {platform.python_version()}"
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
