"""Every benchmark's figures against its published scoring, written again: 1,000 random prediction files each, with
ties, unreadable votes and repeated ids."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import official_scoring as official
import pytest
from benchmark_files import GENEVAL_ROWS

from reasoner_rm.data.media import Media
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, _numbered
from reasoner_rm.evaluation.benchmarks.vlrmbench import STEPS
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.results import MetricSet
from reasoner_rm.evaluation.scoring import metrics_of
from reasoner_rm.schema import Sample
from reasoner_rm.utils.seeding import stable_seed

pytestmark = pytest.mark.slow  # thousands of random cases against an oracle

FILES = 1000


def files(name: str) -> Iterator[random.Random]:
    """A generator of random numbers for each prediction file."""
    return (random.Random(f"{name}/{n}") for n in range(FILES))


def read(benchmark: Benchmark, rows: Sequence[dict[str, Any]], stem: str = "test") -> list[list[Sample]]:
    """The items of each row; nothing is looked for on the disk."""
    names: Counter[str] = Counter()
    media = Media(Path("data"), Path("keep"))
    return [
        [_numbered(s, names) for s in benchmark.read(DatasetRow(row, f"{stem}-{i + 1}", i, media))]
        for i, row in enumerate(rows)
    ]


def score(items: Sequence[AnsweredItem], protocol: Protocol) -> MetricSet:
    return metrics_of(items, protocol, intervals=False)


def value(found: MetricSet, name: str | None = None) -> float | None:
    return (found.overall[name] if name else found.headline[1]).value


def near(expected: float | None) -> Any:
    return None if expected is None else pytest.approx(expected, abs=6e-5)  # figures have four digits


def asked(sample: Sample, protocol: Protocol, say: Callable[[], str]) -> AnsweredItem:
    return AnsweredItem(sample, tuple(Prediction(order, k, say()) for order, k in protocol.required_votes(sample)))


def answers(item: AnsweredItem) -> official.Answers:
    return [(vote.order == "swapped", vote.text or "") for vote in item.predictions]


def coin(protocol: Protocol, items: Sequence[AnsweredItem]) -> official.Coin:
    """The protocol's own coin; whether it is fair is not asked here."""

    def toss(i: int, k: int) -> int:
        vote = items[i].predictions[k]
        return stable_seed("coin", protocol.seed, items[i].sample.id, vote.order, vote.number) & 1

    return toss


def scored(sample: Sample, pair: tuple[float, float], both: bool = True) -> AnsweredItem:
    """A scalar head's votes, in both orders or the given one."""
    votes = [Prediction("given", 0, scores=pair), Prediction("swapped", 0, scores=pair[::-1])]
    return AnsweredItem(sample, tuple(votes[: 1 + both]))


def level(rng: random.Random) -> float:
    """A score that is often equal to another."""
    return rng.choice((0.0, 0.25, 0.5, 0.75, 1.0))


# --- VL-RewardBench ---

PREFIXES = (
    "RLAIF-V-",
    "RLHF-V-",
    "hallucination_pair-",
    "mathverse_",
    "mmmu_pro-",
    "wildvision-battle_",
    "VLFeedback-",
)
JUDGEMENTS = (
    "Overall Judgment: Answer {n} is better.",
    "**Overall Judgment**\n\nAnswer {n} is slightly better",
    "I am not sure.",
    "therefore, after all, Answer {m} is better? No: Answer {n} is the better one",
    "Answer {n} is better.",
    "Therefore - Answer {n}  is better, as Answer {m} lacks detail",
    "<answer>Answer {n} is better</answer>",
    "Overall Judgment: Answer {n}is better",
    "<answer>{n}</answer> or Answer {m} is better",
    "<answer> {n}.0 </answer><answer>{m}</answer>",
    "{m} or {n}",
    "Answer {m} is better? No, Answer {n} is better",
    "Overall  Judgment: Answer {n} is better",
)


def judgement(rng: random.Random) -> str:
    n = rng.choice("112")
    return rng.choice(JUDGEMENTS).format(n=n, m="2" if n == "1" else "1")


def vlrb_rows(rng: random.Random) -> list[dict[str, Any]]:
    rows = [
        {
            "id": rng.choice(PREFIXES) + str(rng.randint(0, 2)),
            "query": "<image>\nq",
            "image": "x.png",
            "response": ["a" * rng.randint(1, 9), "b" * rng.randint(1, 9)],
            "human_ranking": rng.choice(([0, 1], [1, 0])),
        }
        for _ in range(rng.randint(1, 12))
    ]
    return rows


def vlrb(protocol: Protocol) -> Iterator[tuple[list[dict[str, Any]], list[AnsweredItem]]]:
    benchmark = get_benchmark("vl_rewardbench")
    for rng in files(protocol.name):
        rows = vlrb_rows(rng)
        fluent = rng.random() < 0.5  # else many votes cannot be read
        say = (lambda rng=rng: f"Overall Judgment: Answer {rng.choice('12')} is better") if fluent else None
        yield rows, [asked(s, protocol, say or (lambda rng=rng: judgement(rng))) for (s,) in read(benchmark, rows)]


@pytest.mark.parametrize("k", [1, 3, 4, 5])
def test_vl_rewardbench(k: int) -> None:
    protocol = get_benchmark("vl_rewardbench").protocol("official").with_options(votes=5)
    few = protocol.with_options(votes=k)
    for rows, items in vlrb(protocol):
        overall, macro = official.vl_rewardbench(rows, [answers(i) for i in items], k)
        found = score(items, few)
        assert (value(found), value(found, "macro accuracy")) == (near(overall), near(macro))


@pytest.mark.parametrize(
    ("name", "theirs"), [("unifiedreward", official.unifiedreward), ("r1_reward", official.r1_reward)]
)
def test_vl_rewardbench_as_others_score_it(name: str, theirs: Callable[..., Any]) -> None:
    protocol = get_benchmark("vl_rewardbench").protocol(name)
    for rows, items in vlrb(protocol):
        overall, groups = theirs(rows, [answers(i) for i in items])
        found = score(items, protocol)
        assert value(found) == near(overall)
        assert {k: f.value for k, f in found.groups[name].items()} == {k: near(v) for k, v in groups.items()}


def test_vl_rewardbench_as_lmms_eval_scores_it() -> None:
    protocol = get_benchmark("vl_rewardbench").protocol("lmms_eval")
    for rows, items in vlrb(protocol):
        assert value(score(items, protocol)) == near(
            official.lmms_eval(rows, [answers(i) for i in items], coin(protocol, items))
        )


# --- other answers ---


BRACKETS = ("My verdict: [[A]]", "[[B]]", "[[B]] rather than [[A]]", "A is better", "[[C]]")


def test_multimodal_rewardbench() -> None:
    benchmark = get_benchmark("multimodal_rewardbench")
    protocol = benchmark.protocol("official")
    categories = ("general correctness", "general preference", "knowledge", "reasoning", "safety", "VQA")
    for rng in files("mmrb"):
        rows = [
            {
                "ID": rng.choice(("math-1", "PAIRS_2", "pairs-3", "code4", "x5")),
                "Text": "q",
                "Image": "x.png",
                "Output1": "a",
                "Output2": "b",
                "Better": rng.choice(("Output1", "Output2")),
                "Category": rng.choice(categories),
            }
            for _ in range(rng.randint(1, 12))
        ]
        items = [asked(s, protocol, lambda rng=rng: rng.choice(BRACKETS)) for (s,) in read(benchmark, rows)]
        expected = official.multimodal_rewardbench(rows, [answers(i) for i in items], coin(protocol, items))
        found = score(items, protocol)
        assert value(found) == near(expected.pop("all"))
        assert {k: f.value for k, f in found.groups["part"].items()} == {k: near(v) for k, v in expected.items()}


def test_mm_rlhf_rewardbench() -> None:
    benchmark = get_benchmark("mm_rlhf_rewardbench")
    for rng in files("mm_rlhf"):
        rows = [
            {
                "id": f"q{rng.randint(0, 3)}",
                "image": f"{rng.choice(('mcq', 'long'))}/x.png",
                "prompt": "q",
                "chosen": "a",
                "rejected": "b",
            }
            for _ in range(rng.randint(1, 10))
        ]
        rewards = [None if rng.random() < 0.1 else (level(rng), level(rng)) for _ in rows]
        items = [
            scored(s, r) if r else AnsweredItem(s, (Prediction("given", 0, "hm"), Prediction("swapped", 0, "hm")))
            for (s,), r in zip(read(benchmark, rows), rewards, strict=True)
        ]
        acc, plus = official.mm_rlhf(rows, rewards)
        assert value(score(items, benchmark.protocol("acc"))) == near(acc)
        assert value(score(items, benchmark.protocol("acc_plus"))) == near(plus)


def test_vlrmbench() -> None:
    benchmark = get_benchmark("vlrmbench")
    protocol = benchmark.protocols[0]
    numbers = ("[3, 7]", "Scores: 5 and 5", "[10, 2] out of 10: [4, 9]", "none", "8", "1 2 3")
    for rng in files("vlrmbench"):
        tasks: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        items: list[AnsweredItem] = []
        for task in rng.sample((*STEPS, "multi_solution", "foresight", "error_reason_analysis"), rng.randint(1, 4)):
            for i in range(rng.randint(1, 3)):
                steps = [f"STEP{k}" for k in range(rng.randint(1, 4))]
                row: dict[str, Any] = {
                    "id": i,
                    "image": ["x.png"],
                    "question": "q",
                    "step_list": steps,
                    "reasoning_error": steps,
                }
                if task in STEPS:
                    row["task_gt"] = [rng.randint(0, 1) for _ in steps]
                    said: Any = rng.choice(
                        ("[0, 1, 0]", "step 2 is 1", "[1]", "nothing", "[0,0,0,0,1,1]", "[1, 1, 5, 0]")
                    )
                elif task == "foresight":
                    row["task_gt"] = rng.random() < 0.5
                    said = rng.choice(("Yes", "no.", "TRUE", "It is false, yes", "perhaps", "Nothing known"))
                elif task == "multi_solution":
                    row["task_gt"], said = [0, 1], (rng.choice(numbers), rng.choice(numbers))
                else:
                    row["task_gt"], said = "Step 1 is wrong.", (rng.choice(numbers), rng.choice(numbers))
                tasks.setdefault(task, []).append((row, said))
                media = Media(Path("data"), Path("keep"))
                (sample,) = benchmark.read(DatasetRow(row, f"{task}-{i + 1}", i, media))
                items.append(_vlrm_answered(sample, said, task))
        expected = official.vlrmbench(tasks)
        found = score(items, protocol)
        assert {k: f.value for k, f in found.groups["group"].items()} == {k: near(v) for k, v in expected.items()}
        assert value(found) == near(sum(expected.values()) / len(expected))


def _vlrm_answered(sample: Sample, said: Any, task: str) -> AnsweredItem:
    if task == "error_reason_analysis":
        grades = (Prediction("given", 0, said[0]), Prediction("swapped", 0, said[1]))
        return AnsweredItem(sample, (Prediction("given", 0, "Step 1.", grades=grades),))
    if task == "multi_solution":
        return AnsweredItem(sample, (Prediction("given", 0, said[0]), Prediction("swapped", 0, said[1])))
    return AnsweredItem(sample, (Prediction("given", 0, said),))


@pytest.mark.parametrize("way", ["mean", "min", "last"])
def test_vilbench(way: str) -> None:
    benchmark = get_benchmark("vilbench")
    for rng in files(f"vilbench/{way}"):
        rows, said = [], []
        for _ in range(rng.randint(1, 4)):
            right = [rng.random() < 0.4 for _ in range(rng.randint(1, 4))]
            candidates = [{"steps": ["a", "b"], "correct": r} for r in right]
            rows.append({"question": "q", "image": "x.png", "candidates": candidates})
            lists = (
                f"[{rng.randint(1, 5)}, {rng.randint(1, 5)}]",
                "[3, 3]",
                "first [1, 1], then [4.5, 2]",
                "none",
                "[]",
            )
            said.append([(r, rng.choice(lists)) for r in right])
        items = [
            AnsweredItem(s, (Prediction("given", 0, text),))
            for group, texts in zip(read(benchmark, rows), said, strict=True)
            for s, (_, text) in zip(group, texts, strict=True)
        ]
        assert value(score(items, benchmark.protocol(f"steps_{way}"))) == near(official.vilbench(said, way))


# --- generated images and videos ---


def test_mj_bench() -> None:
    benchmark = get_benchmark("mj_bench")
    with_tie, without = benchmark.protocol("with_tie"), benchmark.protocol("without_tie")
    texts = {0: "BETTER IMAGE: 1", 1: "BETTER IMAGE: 2\nANALYSIS", 2: "RATING: 3\nBETTER IMAGE: 0", None: "BETTER: 1"}
    for rng in files("mj"):
        rows = [
            {"caption": "c", "image0": "x.png", "image1": "y.png", "label": rng.randint(0, 1), "info": "object"}
            for _ in range(rng.randint(1, 10))
        ]
        samples = [s for (s,) in read(benchmark, rows)]
        said = [rng.choice((0, 1, 2, None)) for _ in rows]
        items = [AnsweredItem(s, (Prediction("given", 0, texts[p]),)) for s, p in zip(samples, said, strict=True)]
        expected = official.mj_bench(rows, said)
        assert (value(score(items, with_tie)), value(score(items, without))) == tuple(map(near, expected))
        points = [(level(rng), level(rng)) for _ in rows]
        heads = [scored(s, p, both=False) for s, p in zip(samples, points, strict=True)]
        t = rng.choice((0.0, 0.25))
        prefers = [2 if abs(a - b) <= t else int(b > a) for a, b in points]
        expected = official.mj_bench(rows, prefers)
        found = tuple(value(score(heads, p.with_options(threshold=t))) for p in (with_tie, without))
        assert found == tuple(map(near, expected))


def test_mj_bench_bias() -> None:
    benchmark = get_benchmark("mj_bench_bias")
    protocol = benchmark.protocols[0]
    texts = (
        ("I give it 7.", 7),
        ("ten", 10),
        ("0", 0),
        ("11 of 12", None),
        ("quite Poor", 2),
        ("no idea", None),
        ("3/10", 3),
    )
    for rng in files("bias"):
        rows = [
            {"image": "x.png", "occupation": rng.choice(("pilot", "nurse")), "demographic": "d"}
            for _ in range(rng.randint(1, 10))
        ]
        said = [rng.choice(texts) for _ in rows]
        items = [
            AnsweredItem(s, (Prediction("given", 0, text),))
            for (s,), (text, _) in zip(read(benchmark, rows), said, strict=True)
        ]
        found = score(items, protocol)
        expected = official.mj_bias(rows, [None if n is None else float(n) for _, n in said])
        assert tuple(value(found, k) for k in ("ACC", "NDS", "GES")) == tuple(map(near, expected))


def ranked(benchmark: Benchmark, rows: list[dict[str, Any]], scores: list[list[float]]) -> list[AnsweredItem]:
    return [
        scored(s, (values[s.meta["places"][0]], values[s.meta["places"][1]]))
        for group, values in zip(read(benchmark, rows), scores, strict=True)
        for s in group
    ]


def test_imagereward() -> None:
    benchmark = get_benchmark("imagereward")
    for rng in files("imagereward"):
        rankings = [[rng.randint(1, 4) for _ in range(rng.randint(2, 5))] for _ in range(rng.randint(1, 4))]
        rows = [
            {"id": str(i), "prompt": "p", "generations": [f"{k}.png" for k in range(len(r))], "ranking": r}
            for i, r in enumerate(rankings)
        ]
        scores = [[level(rng) for _ in r] for r in rankings]
        items = ranked(benchmark, rows, scores)
        micro, macro = official.imagereward(rankings, scores)
        assert value(score(items, benchmark.protocol("ir_micro"))) == near(micro)
        assert value(score(items, benchmark.protocol("ir_macro"))) == near(macro)


def test_hpdv2() -> None:
    benchmark = get_benchmark("hpdv2")
    for rng in files("hpdv2"):
        ranks = [[rng.randint(0, 3) for _ in range(rng.randint(2, 5))] for _ in range(rng.randint(1, 4))]
        rows = [{"prompt": "p", "image_path": [f"{k}.png" for k in range(len(r))], "rank": r} for r in ranks]
        scores = [[level(rng) for _ in r] for r in ranks]
        items = ranked(benchmark, rows, scores)
        each = [official.inversion_score([-s for s in v], r) for v, r in zip(scores, ranks, strict=True)]
        assert value(score(items, benchmark.protocol("official"))) == near(sum(each) / len(each))


def test_pickapic() -> None:
    benchmark = get_benchmark("pickapic")
    for rng in files("pickapic"):
        labels = [rng.choice((0.0, 0.5, 1.0)) for _ in range(rng.randint(1, 10))]
        rows = [
            {"caption": "c", "jpg_0": "x.png", "jpg_1": "y.png", "label_0": label, "ranking_id": i}
            for i, label in enumerate(labels)
        ]
        probs = [(p, 1 - p) for p in (level(rng) for _ in rows)]
        t = rng.choice((0.0, 0.1, 0.5, 1.0))
        items = [scored(s, p) for (s,), p in zip(read(benchmark, rows), probs, strict=True)]
        assert value(score(items, benchmark.protocol("official").with_options(threshold=t))) == near(
            official.pickscore(labels, probs, t)
        )


def test_rapidata() -> None:
    """Against what most people preferred; equal counts do not count."""
    benchmark = get_benchmark("rapidata")
    for rng in files("rapidata"):
        rows = [
            {
                "prompt": "p",
                "image1": "x.png",
                "image2": "y.png",
                "votes_image1": rng.randint(0, 3),
                "votes_image2": rng.randint(1, 3),
            }
            for _ in range(rng.randint(1, 8))
        ]
        points = [(level(rng), level(rng)) for _ in rows]
        items = [scored(s, p) for (s,), p in zip(read(benchmark, rows), points, strict=True)]
        hits = [
            (a > b) if row["votes_image1"] > row["votes_image2"] else (b > a)
            for row, (a, b) in zip(rows, points, strict=True)
            if row["votes_image1"] != row["votes_image2"]
        ]
        assert value(score(items, benchmark.protocol("majority"))) == near(official.share([float(h) for h in hits]))


GENAI = (
    "[[A>B]]",
    "[[B>A]]",
    "[[A=B=Good]]",
    "[[A=B=Bad]]",
    "[[A=B]]",
    "[[A>>B]]",
    "Not [[A>B]]\nbut [[B>>A]]",
    "A > B",
    "either [[A>B]] or [[B>A]]",
    "[[A>B]",
    "[[C]]",
)


@pytest.mark.parametrize("kind", ["image", "edit", "video"])
def test_genai_bench(kind: str) -> None:
    benchmark = get_benchmark(f"genai_bench_{kind}")
    row = {
        "prompt": "p",
        "instruct_prompt": "p",
        "source_image": "s.png",
        "left_model": "m",
        "right_model": "n",
        **{
            f"{side}_{what}": f"{side}.png" for side in ("left", "right") for what in ("image", "output_image", "video")
        },
    }
    for rng in files(f"genai/{kind}"):
        votes = [rng.choice(("leftvote", "rightvote", "tievote", "bothbad_vote")) for _ in range(rng.randint(1, 10))]
        said = [rng.choice(GENAI) for _ in votes]
        samples = [s for (s,) in read(benchmark, [{**row, "vote_type": v} for v in votes])]
        items = [AnsweredItem(s, (Prediction("given", 0, text),)) for s, text in zip(samples, said, strict=True)]
        assert value(score(items, benchmark.protocol("official"))) == near(official.genai_bench(votes, said))
        last = [text.split("\n")[-1].replace("either [[A>B]] or ", "") for text in said]  # one verdict a line
        assert value(score(items, benchmark.protocol("fourway"))) == near(official.genai_bench(votes, last))


def test_videogen_rewardbench() -> None:
    benchmark = get_benchmark("videogen_rewardbench")
    for rng in files("videogen"):
        h = [rng.choice((1, -1, 0)) for _ in range(rng.randint(1, 12))]
        rows = [
            {
                "path_A": "a",
                "path_B": "b",
                "A_model": "m",
                "B_model": "n",
                "prompt": "p",
                "Overall": {1: "A", -1: "B", 0: "same"}[x],
            }
            for x in h
        ]
        points = [(level(rng), level(rng)) if rng.random() < 0.5 else (rng.random(), rng.random()) for _ in rows]
        items = [scored(s, p) for (s,), p in zip(read(benchmark, rows), points, strict=True)]
        without, with_ties = official.videogen(h, [a - b for a, b in points])
        assert value(score(items, benchmark.protocol("without_ties"))) == near(without)
        assert value(score(items, benchmark.protocol("with_ties"))) == near(with_ties)


def test_editreward_bench() -> None:
    benchmark = get_benchmark("editreward_bench")
    for rng in files("editreward"):
        rankings, rows, scores = [], [], []
        for _ in range(rng.randint(1, 6)):
            n = rng.choice((2, 2, 3, 4))
            text = ">".join(rng.sample("ABCD"[:n], n))
            if n == 2:
                text = rng.choice((text, "A=B=Good", "A=B=Bad", "A<B"))
            rankings.append(text)
            values = [level(rng) if n == 2 else rng.random() for _ in range(n)]
            scores.append(values)
            paths = [f"{k}.png" for k in range(n)]
            rows.append({"prompt": "p", "path_src": "s.png", "paths_generated": paths, "human_vote": {"ranking": text}})
        items = [
            scored(s, (values[int(s.id.split("-")[-2])], values[int(s.id.split("-")[-1])]))
            for group, values in zip(read(benchmark, rows), scores, strict=True)
            for s in group
        ]
        assert value(score(items, benchmark.protocol("strict"))) == near(official.editreward(rankings, scores))


# --- single answers ---


def test_vicrit_bench() -> None:
    benchmark = get_benchmark("vicrit_bench")
    phrases = (
        ("a plastic chair", "a red chair"),
        ("two cats", "three cats"),
        ("a small tree", "a tree"),
        ("left", "right"),
    )
    for rng in files("vicrit"):
        rows, texts = [], []
        for _ in range(rng.randint(1, 8)):
            was, now = rng.choice(phrases)
            rows.append(
                {
                    "image": "x.png",
                    "changed_caption": f"Here is {now}.",
                    "original_noun_phrases": was,
                    "changed_noun_phrases": now,
                    "category": "c",
                }
            )
            forms = (
                "\\boxed{%s}",
                "So \\boxed{a wall}, no: \\boxed{%s}",
                "It is\n%s",
                "It is\n%s\n",
                "\\boxed{coloured %s}",
                "\\boxed{a wall}",
            )
            form = rng.choice(forms)
            texts.append(form % rng.choice((now, now.upper(), was, now.split()[0])) if "%s" in form else form)
        items = [
            AnsweredItem(s, (Prediction("given", 0, t),)) for (s,), t in zip(read(benchmark, rows), texts, strict=True)
        ]
        exact, released = official.vicrit(rows, texts)
        assert value(score(items, benchmark.protocol("exact"))) == near(exact)
        assert value(score(items, benchmark.protocol("released"))) == near(released)


def test_refcoco() -> None:
    benchmark = get_benchmark("refcoco")
    for rng in files("refcoco"):
        rows, texts, boxes = [], [], []
        for _ in range(rng.randint(1, 8)):
            true = [rng.randint(0, 20), rng.randint(0, 20)]
            true += [true[0] + rng.randint(3, 30), true[1] + rng.randint(3, 30)]
            box = [max(0, v + rng.randint(-4, 4)) for v in true[:2]]
            box += [box[0] + rng.randint(1, 30), box[1] + rng.randint(1, 30)]
            rows.append({"image": "x.png", "problem": "p", "solution": true, "normal_caption": "thing"})
            readable = rng.random() < 0.8
            boxes.append(box if readable else None)
            texts.append(
                f'<think>[1, 2, 3, 4]</think><answer>{{"bbox_2d": {box}, "label": "thing"}}</answer>'
                if readable
                else f"{box}"
            )
        items = [
            AnsweredItem(s, (Prediction("given", 0, t),)) for (s,), t in zip(read(benchmark, rows), texts, strict=True)
        ]
        for name, iou in (("standard", official.plain_iou), ("vlm_r1", official.vlm_r1_iou)):
            hits = [float(b is not None and iou(b, row["solution"]) > 0.5) for b, row in zip(boxes, rows, strict=True)]
            assert value(score(items, benchmark.protocol(name))) == near(sum(hits) / len(hits))


def test_boxes_are_brought_to_original_pixels() -> None:
    benchmark = get_benchmark("refcoco")
    ((sample,),) = read(
        benchmark, [{"image": "x.png", "problem": "p", "solution": [10, 20, 30, 60], "normal_caption": "t"}]
    )
    text = '<answer>[{"bbox_2d": [20, 10, 60, 30], "label": "t"}]</answer>'
    for scale, right in (((0.5, 2.0), 1.0), (None, 0.0)):
        item = AnsweredItem(sample, (Prediction("given", 0, text, scale=scale),))
        assert value(score([item], benchmark.protocol("standard"))) == right


def test_detection(capsys: pytest.CaptureFixture[str]) -> None:
    """COCO's own evaluation is the oracle."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    benchmark = get_benchmark("ovd")
    names = ("cup", "dog", "car")

    def box(rng: random.Random) -> list[int]:
        x, y = rng.randint(0, 20), rng.randint(0, 20)
        return [x, y, x + rng.randint(5, 20), y + rng.randint(5, 20)]

    for rng in files("ovd"):
        rows, texts = [], []
        truth: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [{"id": k} for k in range(3)]}
        found = []
        for i in range(rng.randint(1, 3)):
            gold = [(rng.randrange(3), box(rng)) for _ in range(rng.randint(1, 4))]
            said = [(c, [v + rng.randint(-2, 2) for v in b]) for c, b in gold if rng.random() < 0.8]
            said += [(rng.randrange(3), box(rng)) for _ in range(rng.randint(0, 2))]
            said = [(c, b) for c, b in said if b[0] < b[2] and b[1] < b[3]]
            readable = rng.random() < 0.9
            as_text = json.dumps([{"bbox_2d": b, "label": names[c]} for c, b in gold])
            rows.append(
                {
                    "image": f"{i}.png",
                    "conversations": [
                        {"from": "human", "value": "<image>Find these categories: cup, dog, car."},
                        {"from": "gpt", "value": as_text},
                    ],
                }
            )
            written = json.dumps([{"bbox_2d": b, "label": names[c]} for c, b in said])
            texts.append(f"<answer>{written}</answer>" if readable else written)
            truth["images"].append({"id": i})
            for c, b in gold:
                w, h = b[2] - b[0], b[3] - b[1]
                k = len(truth["annotations"]) + 1
                truth["annotations"].append(
                    {"id": k, "image_id": i, "category_id": c, "bbox": [*b[:2], w, h], "area": w * h, "iscrowd": 0}
                )
            if readable:
                found += [
                    {"image_id": i, "category_id": c, "bbox": [*b[:2], b[2] - b[0], b[3] - b[1]], "score": 1.0}
                    for c, b in said
                ]
        items = [
            AnsweredItem(s, (Prediction("given", 0, t),)) for (s,), t in zip(read(benchmark, rows), texts, strict=True)
        ]
        ours = score(items, benchmark.protocols[0])
        if not found:
            assert (value(ours, "AP"), value(ours, "AP50")) == (0.0, 0.0)
            continue
        theirs = COCO()
        theirs.dataset = truth
        theirs.createIndex()
        run = COCOeval(theirs, theirs.loadRes(found), "bbox")
        run.params.areaRng, run.params.areaRngLbl, run.params.maxDets = [[0, 1e10]], ["all"], [100]
        run.evaluate()
        run.accumulate()
        precision = run.eval["precision"][..., 0, 0]  # [thresholds, recalls, categories], -1 without objects
        at = [level[level > -1].mean() for level in precision]
        assert (value(ours, "AP"), value(ours, "AP50")) == (near(sum(at) / len(at)), near(at[0]))
    capsys.readouterr()


def test_pope() -> None:
    benchmark = get_benchmark("pope")
    said = (
        "Yes.",
        "No, there is not.",
        "yes",
        "There is no such thing",
        "Nothing. no",
        "It is, not sure",
        "Yes, no",
        "",
    )
    for rng in files("pope"):
        rows = [
            {"question_id": i, "image": "x.jpg", "text": "Is there a cup?", "label": rng.choice(("yes", "no"))}
            for i in range(rng.randint(1, 10))
        ]
        texts = [rng.choice(said) for _ in rows]
        items = [
            AnsweredItem(s, (Prediction("given", 0, t),)) for (s,), t in zip(read(benchmark, rows), texts, strict=True)
        ]
        found = score(items, benchmark.protocols[0])
        assert {k: value(found, k) for k in ("accuracy", "precision", "recall", "F1", "yes ratio")} == {
            k: near(v) for k, v in official.pope(rows, texts).items()
        }


def test_mmhal_bench() -> None:
    benchmark = get_benchmark("mmhal_bench")
    grades = (
        "Rating: 5, very informative",
        "rating: 0",
        "rating: 2 or rating: 3",
        "good",
        "Explanation.\nRating: 6",
        "rating:4",
    )
    for rng in files("mmhal"):
        rows = [
            {"image_src": "x.png", "question": "q", "gt_answer": "a", "question_topic": "t"}
            for _ in range(rng.randint(1, 10))
        ]
        texts = [rng.choice(grades) for _ in rows]
        items = [
            AnsweredItem(s, (Prediction("given", 0, "red", grades=(Prediction("given", 0, t),)),))
            for (s,), t in zip(read(benchmark, rows), texts, strict=True)
        ]
        found = score(items, benchmark.protocols[0])
        expected = official.mmhal(texts)
        assert (value(found, "rating"), value(found, "hallucination rate")) == tuple(map(near, expected))


def test_geneval() -> None:
    benchmark = get_benchmark("geneval")
    protocol = benchmark.protocols[0]
    colours = ("red", "blue", None)
    for rng in files("geneval"):
        rows, items = [], []
        for i in range(rng.randint(1, 8)):
            metadata = rng.choice(GENEVAL_ROWS)
            objects = []
            for _ in range(rng.randint(0, 4)):
                x, y = rng.randint(0, 60), rng.randint(0, 60)
                objects.append(
                    {
                        "bbox_2d": [x, y, x + rng.randint(1, 40), y + rng.randint(1, 40)],
                        "label": rng.choice(("cup", "dog")),
                        "score": rng.choice((0.2, 0.31, 0.89, 0.9, 0.91, 1.0)),
                        "color": rng.choice(colours),
                    }
                )
            rows.append((metadata, objects))
            record = {**metadata, "place": f"{i:05}", "image": f"{i}.png"}
            ((sample,),) = read(benchmark, [record])
            items.append(AnsweredItem(sample, (Prediction("given", 0, f"<answer>{json.dumps(objects)}</answer>"),)))
        by: dict[str, list[float]] = {}
        for metadata, objects in rows:
            by.setdefault(metadata["tag"], []).append(float(official.geneval(metadata, objects)))
        expected = [sum(v) / len(v) for v in by.values()]
        assert value(score(items, protocol)) == near(sum(expected) / len(expected))


def test_own_samples() -> None:
    """The mean over both orders of right verdicts; unreadable is wrong, tied votes do not count."""
    benchmark = get_benchmark("samples")
    protocol = benchmark.protocols[0]
    texts = {
        1: "<answer>Image 1 is better</answer>",
        2: "<answer>Image 2 is better</answer>",
        0: "<answer>Image 3</answer>",
    }
    for rng in files("samples"):
        rows = [
            {
                "id": f"s{i}",
                "task": "image_preference",
                "prompt": "p",
                "images": ["x.png", "y.png"],
                "gold": {"p_first": level(rng)},
            }
            for i in range(rng.randint(1, 8))
        ]
        said = [(rng.choice((0, 1, 2)), rng.choice((0, 1, 2))) for _ in rows]
        items = [
            AnsweredItem(s, (Prediction("given", 0, texts[a]), Prediction("swapped", 0, texts[b])))
            for (s,), (a, b) in zip(read(benchmark, rows), said, strict=True)
        ]
        points = []
        for row, (a, b) in zip(rows, said, strict=True):
            p = row["gold"]["p_first"]
            if p != 0.5:
                points.append(((a == (1 if p > 0.5 else 2)) + (b == (2 if p > 0.5 else 1))) / 2)
        assert value(score(items, protocol)) == near(official.share(points))
