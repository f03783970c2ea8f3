"""Seconds to score a batch of 512 completions of about 512 tokens, 64 groups of 8, by every rule-based preset.

Timed are parsing, scoring and weighting, without listener and scorer. Medians of several runs, in CPU seconds with the
child process for formulas, and in wall seconds, which depend on the load of the machine.

python benchmarks/rewards.py --json benchmarks/results/rewards.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from pathlib import Path

import psutil

from reasoner_rm.rewards import parse_spec, score_groups, weighted_sum, weights
from reasoner_rm.schema import Belief, Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task

GROUPS, SIZE, WORDS, RUNS = 64, 8, 400, 5
"""400 words are about 512 tokens."""

TEXT = (
    "the image shows a small red cube beside two grey cats on wooden chairs while light falls from left and nothing "
    "else moves so that its colour counts more than shape or place where one would look for it first"
)
VOCABULARY = TEXT.split()


def prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(VOCABULARY) for _ in range(words))


def box(rng: random.Random) -> dict[str, object]:
    x, y = rng.randint(0, 900), rng.randint(0, 900)
    label = rng.choice(["cube", "ball", "cat"])
    return {"bbox_2d": [x, y, x + rng.randint(5, 100), y + rng.randint(5, 100)], "label": label}


def pair(rng: random.Random, i: int) -> Sample:
    return Sample(f"p{i}", "image_preference", "a red cube", ("x", "y"), gold={"p_first": rng.random()})


def objects(rng: random.Random, i: int) -> Sample:
    return Sample(f"d{i}", "detection", "cube, ball, cat", ("x",), gold={"boxes": [box(rng) for _ in range(12)]})


def thing(rng: random.Random, i: int) -> Sample:
    return Sample(f"g{i}", "grounding", "the cube", ("x",), gold={"boxes": [box(rng)]})


def caption(rng: random.Random, i: int) -> Sample:
    text = f"{prose(rng, 150)} a wooden chair {prose(rng, 40)}"
    gold = {"original": "a plastic chair", "changed": "a wooden chair", "type": "material"}
    return Sample(f"c{i}", "caption_critic", text, ("x",), gold=gold)


def sum_of(rng: random.Random, i: int) -> Sample:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    return Sample(f"m{i}", "qa", "?", ("x",), gold={"answer": f"\\frac{{{a}}}{{{b}}}", "kind": "math"})


def formula(rng: random.Random) -> str:
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    forms = (f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}", f"{a}\\sqrt{{{b}}}", f"{a}", f"{a}x+{b}", f"\\frac{{{a}+{b}}}{{{c}}}")
    return rng.choice(forms)


def predicted_boxes(rng: random.Random, sample: Sample, close: int) -> str:
    """Boxes: the gold boxes moved by up to ``close`` pixels, and random ones."""
    moved = [[v + rng.randint(-close, close) for v in item["bbox_2d"]] for item in sample.gold["boxes"]]
    items = [
        {"bbox_2d": row, "label": item["label"]}
        for row, item in zip(moved, sample.gold["boxes"], strict=True)
        if row[0] < row[2] and row[1] < row[3]
    ]
    return json.dumps(items + [box(rng) for _ in range(3 if len(items) > 1 else 0)])


def verdict(rng: random.Random, sample: Sample) -> str:
    answer = f"<answer>Image {rng.randint(1, 2)} is better</answer>"
    scores = "Image 1 (9/10) x; Image 2 (7/10) y. Image 1: 9=9 Image 2: 7=7"
    return f"<think>{prose(rng, WORDS - 20)} {scores}</think>\n{answer}"


def located(rng: random.Random, sample: Sample) -> str:
    return f"<think>{prose(rng, WORDS // 3)}</think>\n<answer>{predicted_boxes(rng, sample, 8)}</answer>"


def bare(rng: random.Random, sample: Sample) -> str:
    return predicted_boxes(rng, sample, 8)


def spotted(rng: random.Random, sample: Sample) -> str:
    return f"<think>{prose(rng, WORDS)}</think>\n\\boxed{{{rng.choice(['a wooden chair', 'wooden', 'a grey cat'])}}}"


def solved(rng: random.Random, sample: Sample) -> str:
    return f"<think>{prose(rng, WORDS)}</think>\n<answer>{formula(rng)}</answer>"


CASES = {
    "listener": ("listener", pair, verdict, 1.0),
    "unified_think": ("unified_think", pair, verdict, 1.0),
    "unified_think + score_arithmetic": ({"unified_think": 1.0, "score_arithmetic": 1.0}, pair, verdict, 1.0),
    "r1_reward": ("r1_reward", pair, verdict, 1.0),
    "hard": ("hard", pair, verdict, 1.0),
    "vicrit_rl": ("vicrit_rl", caption, spotted, 1.0),
    "vision_r1_det": ("vision_r1_det", objects, bare, 1.0),
    "vision_r1_det_released": ("vision_r1_det_released", objects, bare, 1.0),
    "vlm_r1_rec": ("vlm_r1_rec", thing, located, 1.0),
    "vlm_r1_ovd": ("vlm_r1_ovd", objects, located, 1.0),
    "od_weighted_sum + lengths": (
        {"od_weighted_sum": 1.0, "cosine_length": 1.0, "repetition": 1.0}, objects, located, 1.0,
    ),
    "guards": ({"overlong": 1.0, "banned": 1.0, "degenerate": 1.0, "leak": 1.0}, pair, verdict, 1.0),
    "hard, formulas": ("hard", sum_of, solved, 5.0),
}  # fmt: skip
"""By name: rewards, question, completion, and the required time in seconds."""


def core_seconds() -> float:
    """CPU seconds of this process and its children."""
    here = psutil.Process()
    return sum(p.cpu_times().user + p.cpu_times().system for p in (here, *here.children()))


def seconds(name: str, seed: int) -> tuple[float, float]:
    """CPU and wall seconds of one batch with new texts."""
    spec, question, answer, _ = CASES[name]
    rng, mixture = random.Random(f"{name}/{seed}"), parse_spec(spec)  # type: ignore[arg-type]
    batch = []
    for i in range(GROUPS):
        sample = question(rng, i)
        texts = [answer(rng, sample) for _ in range(SIZE)]
        batch.append(Group(sample, tuple(Completion(t, (1,) * 512, (0.0,) * 512, "stop") for t in texts)))
    context = RewardContext(beliefs=(Belief(("1", "2"), (0.7, 0.3), 1.0),) * SIZE)
    start, core = time.perf_counter(), core_seconds()
    jobs = [
        (group, [get_task(group.sample.task).parse(c.text, group.sample) for c in group.completions], context)
        for group in batch
    ]
    for outputs in score_groups(mixture, jobs):
        weighted_sum(weights(mixture), {name: output.values for name, output in outputs.items()})
    return core_seconds() - core, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {}
    for name, (*_, bar) in CASES.items():
        seconds(name, 0)
        cores, walls = zip(*(seconds(name, seed) for seed in range(1, RUNS + 1)), strict=True)
        median = statistics.median(cores)
        rows[name] = {"core": [round(t, 4) for t in cores], "wall": [round(t, 4) for t in walls], "bar": bar,
                      "median": round(median, 4)}  # fmt: skip
        print(
            f"{name:34} {median:.3f} CPU s (required: {bar:g}), {statistics.median(walls):.3f} wall s",
            flush=True,
        )
    if args.json:
        where = {"python": platform.python_version(), "machine": platform.machine()}
        args.json.write_text(json.dumps({"where": where, "batch": GROUPS * SIZE, "presets": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
