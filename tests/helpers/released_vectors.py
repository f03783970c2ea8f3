"""What this project computes on the inputs of `tests/oracles/vectors`: a function of a case's input for each file.

A value has the form of the file's `expected`. `python tests/helpers/released_vectors.py [FILE…]` prints how many cases
of each file agree, and those that do not.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import lzma
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reasoner_rm.data.media import Media
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.benchmarks import mj_bench, vl_rewardbench
from reasoner_rm.evaluation.pairwise import verdict_by_margin, vote_score
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.results import MetricSet
from reasoner_rm.evaluation.scoring import metrics_of
from reasoner_rm.evaluation.verdict_parsers import PairVerdict, overall_judgment
from reasoner_rm.rewards import parse_spec, score_components, weighted_sum, weights
from reasoner_rm.rewards.spec import Mixture
from reasoner_rm.schema import Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.average_precision import average_precision
from reasoner_rm.tasks.boxes import Boxes
from reasoner_rm.training.advantages import group_advantages
from reasoner_rm.training.losses import LossInputs, LossNormalizer, grpo_loss

FOLDER = Path(__file__).parents[1] / "oracles" / "vectors"
Input = Mapping[str, Any]
"""A case's input, or one of its rows."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case: its kind says what is difficult about the input."""

    id: str
    input: Input
    expected: Any

    @property
    def kind(self) -> str:
        return self.id.partition(" ")[2]


def cases(name: str) -> list[Case]:
    """The cases of a file; a name may go on after a space."""
    with lzma.open(FOLDER / f"{name.partition(' ')[0]}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [Case(**json.loads(line)) for line in lines]


def agree(value: Any, expected: Any, within: float) -> bool:
    """Whether two values are equal, numbers up to ``within``; ``value`` may have more keys than ``expected``."""
    match expected:
        case bool() | None | str():
            return bool(value == expected)
        case Mapping():
            return isinstance(value, Mapping) and all(agree(value.get(k), v, within) for k, v in expected.items())
        case Sequence():
            return len(value) == len(expected) and all(
                agree(a, b, within) for a, b in zip(value, expected, strict=True)
            )
    return value is not None and math.isclose(value, expected, rel_tol=0, abs_tol=within + 1e-12)


# --- rewards ---


@functools.cache
def mixture(name: str, component: str | None = None, **params: Any) -> Mixture:
    """A reward or preset with parameters, or one component of it."""
    terms = parse_spec(name, params)
    return terms if component is None else {component: terms[component]}


def reward(terms: Mixture, text: str, sample: Sample, context: RewardContext | None = None, tokens: int = 0) -> Any:
    """The weighted sum of a text's rewards; the sample need not be valid."""
    group = Group(sample, (Completion(text, (0,) * tokens, (), "stop"),))
    parsed = [get_task(sample.task).parse(text, sample)]
    values = score_components(terms, group, parsed, context or RewardContext())
    return weighted_sum(weights(terms), values)[0]


TASK_OF_NOUN = {"Image": "image_preference", "Video": "video_preference", "Answer": "response_preference"}


def preference(noun: str, better: int = 1) -> Sample:
    return Sample("p", TASK_OF_NOUN[noun], "p", gold={"p_first": 2.0 - better})


def unified_think(x: Input) -> Any:
    return reward(mixture("unified_think_released"), x["text"], preference(x["noun"], x["better"]))


def r1_reward_format(x: Input) -> Any:
    return reward(mixture("format"), x["text"], preference("Answer"))


def detection(x: Input) -> Sample:
    labels = ", ".join(x.get("labels", ("kettle",)))
    return Sample("d", "detection", labels, ("a.png",), gold={"boxes": list(x.get("gold", ()))})


def detection_reward(name: str) -> Callable[[Input], Any]:
    return lambda x: reward(mixture(name), x["text"], detection(x))


def cosine_length(x: Input) -> Any:
    sample = Sample("q", "qa", "?", gold={"answer": "4", "kind": "number"})
    return reward(mixture("cosine_length"), "<think>a</think><answer>4</answer>", sample, tokens=x["tokens"])


def qa_reward(name: str) -> Callable[[Input], Any]:
    def value(x: Input) -> Any:
        sample = Sample("q", "qa", "?", gold={"answer": x.get("gold", "x"), "kind": "text"})
        return reward(mixture(name), x["text"], sample)

    return value


def context(x: Input) -> RewardContext:
    sizes = ((tuple(x["image"]), tuple(x["processed"])),) if "image" in x else ()
    return RewardContext(step=x.get("step", 0), image_sizes=sizes)


def grounding(x: Input) -> Sample:
    return Sample("g", "grounding", "kettle", ("a.png",), gold={"boxes": [{"bbox_2d": x["gold"], "label": "kettle"}]})


def grounding_reward(name: str) -> Callable[[Input], Any]:
    return lambda x: reward(mixture(name), x["text"], grounding(x), context(x))


def format_rec(x: Input) -> Any:
    return reward(mixture("format", mode="search"), x["text"], grounding(x))


def vision_r1(component: str) -> Callable[[Input], Any]:
    """A component of the released preset."""
    terms = mixture("vision_r1_det_released", component)
    return lambda x: reward(terms, x["text"], detection(x), context(x))


def vision_r1_by_step(component: str, **params: Any) -> Callable[[Input], Any]:
    """With differentiation in two stages."""
    params = {"released": True, "overlap": "giou", "beginner": (0.5, 0.5, 0.75), "switch_step": 1500, **params}
    terms = mixture(component, **params)
    return lambda x: reward(terms, x["text"], detection(x), context(x))


def caption(x: Input) -> Sample:
    gold = {"original": x["original"], "changed": x["changed"]}
    return Sample("c", "caption_critic", x["caption"], ("a.png",), gold=gold)


def vicrit_released(x: Input) -> Any:
    return reward(mixture("vicrit_released"), x["text"], caption(x))


# --- metrics and verdicts of protocols ---


def read(benchmark: Benchmark, row: Mapping[str, Any], number: int = 0, stem: str = "test") -> list[Sample]:
    """The items of a row; nothing is looked for on the disk."""
    return list(benchmark.read(DatasetRow(row, f"{stem}-{number + 1}", number, Media(Path("data"), Path("keep")))))


def figures(items: Sequence[AnsweredItem], protocol: Protocol) -> MetricSet:
    return metrics_of(items, protocol, intervals=False)


def overall(items: Sequence[AnsweredItem], protocol: Protocol) -> dict[str, Any]:
    return {name: metric.value for name, metric in figures(items, protocol).overall.items()}


def groups(items: Sequence[AnsweredItem], protocol: Protocol, facet: str) -> dict[str, Any]:
    found = figures(items, protocol).groups.get(facet, {})
    return {kind: metric.value for kind, metric in found.items()}


def said(sample: Sample, text: str) -> AnsweredItem:
    return AnsweredItem(sample, (Prediction("given", 0, text),))


def verdict_is_right(benchmark: str, protocol: str, noun: str) -> Callable[[Input], Any]:
    """Whether a text counts as right; without ``better`` the first is the better one."""
    rules = get_benchmark(benchmark).protocol(protocol)

    def value(x: Input) -> Any:
        item = said(preference(noun, x.get("better", 1)), x["text"])
        return vote_score(item, item.predictions[0], rules) == 1.0

    return value


def vlrb_row(x: Input, ranking: Sequence[int]) -> dict[str, Any]:
    return {"id": x["id"], "query": "q", "response": ["a", "b"], "image": "x.png", "human_ranking": list(ranking)}


def vl_rewardbench_cal(x: Input) -> Any:
    """Votes are stored in the order in which they were drawn; the protocol here counts them as they were shown."""
    benchmark = get_benchmark("vl_rewardbench")
    protocol = benchmark.protocol("official").with_options(votes=x["k"])
    items = []
    for number, row in enumerate(x["rows"]):
        (sample,) = read(benchmark, vlrb_row(row, row["ranking"]), number)
        sample = dataclasses.replace(sample, id=f"{sample.id}~{number}")
        votes = []
        for (order, k), (swapped, text) in zip(protocol.required_votes(sample), row["votes"], strict=True):
            text = text if (order == "swapped") == bool(swapped) else text.translate(_EXCHANGED)
            votes.append(Prediction(order, k, text))
        items.append(AnsweredItem(sample, tuple(votes)))
    found, by = overall(items, protocol), groups(items, protocol, "group")
    figure = {"overall": found["accuracy"], "macro": found["macro accuracy"], **by}
    return {name: None if value is None else 100 * value for name, value in figure.items()}


_EXCHANGED = str.maketrans("12", "21")


def vl_rewardbench_verdict(x: Input) -> Any:
    verdict = overall_judgment(x["text"], preference("Answer"))
    return None if verdict is None else int(verdict) + 1


def vl_rewardbench_group(x: Input) -> Any:
    return vl_rewardbench.official_group(x["id"])


def unifiedreward_vl_rewardbench(x: Input) -> Any:
    benchmark = get_benchmark("vl_rewardbench")
    protocol = benchmark.protocol("unifiedreward").with_options(order="given")
    items = [
        said(read(benchmark, vlrb_row(row, (row["better"] - 1, 2 - row["better"])), n)[0], row["text"])
        for n, row in enumerate(x["rows"])
    ]
    found, by = overall(items, protocol), groups(items, protocol, "unifiedreward")
    return {"accuracy": found["accuracy"], "macro": found["macro accuracy"], **by}


def genai_items(rows: Iterable[Input]) -> list[AnsweredItem]:
    benchmark = get_benchmark("genai_bench_image")
    common = {"prompt": "p", "left_model": "m", "right_model": "n", "left_image": "l.png", "right_image": "r.png"}
    return [said(read(benchmark, {**common, "vote_type": row["vote"]})[0], row["text"]) for row in rows]


def genai_bench_accuracy(x: Input) -> Any:
    return overall(genai_items(x["rows"]), get_benchmark("genai_bench_image").protocol("official"))["accuracy"]


def genai_bench_verdict(x: Input) -> Any:
    return genai_bench_accuracy({"rows": [x]}) == 1.0


def scored(sample: Sample, pair: Sequence[float]) -> AnsweredItem:
    """A scalar head's scores in both orders."""
    one, two = float(pair[0]), float(pair[1])
    return AnsweredItem(
        sample, (Prediction("given", 0, scores=(one, two)), Prediction("swapped", 0, scores=(two, one)))
    )


def mm_rlhf(x: Input) -> Any:
    benchmark = get_benchmark("mm_rlhf_rewardbench")
    common = {"prompt": "q", "chosen": "a", "rejected": "b"}
    items = [
        scored(read(benchmark, {**common, "id": row["id"], "image": row["path"]}, n)[0], row["rewards"])
        for n, row in enumerate(x["rows"])
    ]
    acc, plus = benchmark.protocol("acc"), benchmark.protocol("acc_plus")
    return {
        "accuracy": overall(items, acc)["accuracy"], "acc_plus": overall(items, plus)["accuracy"],
        "accuracy_by": groups(items, acc, "group"), "acc_plus_by": groups(items, plus, "group"),
    }  # fmt: skip


def multimodal_rewardbench(x: Input) -> Any:
    benchmark = get_benchmark("multimodal_rewardbench")
    protocol, items = benchmark.protocol("official"), []
    for n, row in enumerate(x["rows"]):
        better = {"A": "Output1", "B": "Output2"}[row["better"]]
        published = {"ID": row["id"], "Text": "q", "Image": "x.png", "Output1": "a", "Output2": "b", "Better": better}
        items.append(said(read(benchmark, {**published, "Category": row["category"]}, n)[0], row["text"]))
    return {"all": overall(items, protocol)["accuracy"], **groups(items, protocol, "part")}


def mj_bench_fairness(x: Input) -> Any:
    return dict(zip(("ACC", "NDS", "GES"), mj_bench.fairness(x["scores"]), strict=True))


def mj_bench_bias(x: Input) -> Any:
    benchmark = get_benchmark("mj_bench_bias")
    items = []
    for n, row in enumerate(x["rows"]):
        published = {"image": "x.png", "occupation": row["occupation"], "demographic": row["demographic"]}
        (sample,) = read(benchmark, published, n)
        scores = (row["score"],) if "score" in row else None
        items.append(AnsweredItem(sample, (Prediction("given", 0, row.get("text"), scores),)))
    return overall(items, benchmark.protocol("scale_10"))


def mj_bench_rating(x: Input) -> Any:
    return mj_bench.rating(x["text"], preference("Image"))


def mj_bench_preference(x: Input) -> Any:
    verdict = verdict_by_margin(x["scores"][0] - x["scores"][1], x["threshold"])
    return {PairVerdict.FIRST: "0", PairVerdict.SECOND: "1", PairVerdict.TIE: "tie"}[verdict]


def imagereward(x: Input) -> Any:
    benchmark = get_benchmark("imagereward")
    items = []
    for n, row in enumerate(x["rows"]):
        images = [f"{k}.png" for k in range(len(row["ranking"]))]
        published = {"id": str(n), "prompt": "p", "generations": images, "ranking": row["ranking"]}
        for sample in read(benchmark, published, n):
            i, j = sample.meta["places"]
            items.append(scored(sample, (row["rewards"][i], row["rewards"][j])))
    return overall(items, benchmark.protocol("ir_micro"))["accuracy"]


def videogen(x: Input) -> Any:
    benchmark = get_benchmark("videogen_rewardbench")
    items = []
    for n, row in enumerate(x["rows"]):
        human = {1: "A", -1: "B", 0: "same"}[row["human"]]
        published = {"path_A": "a", "path_B": "b", "A_model": "m", "B_model": "n", "prompt": "p", "Overall": human}
        items.append(scored(read(benchmark, published, n)[0], row["scores"]))
    return overall(items, benchmark.protocol("without_ties"))["accuracy"]


def editreward(protocol: str) -> Callable[[Input], Any]:
    benchmark = get_benchmark("editreward_bench")
    rules = benchmark.protocol(protocol)

    def value(x: Input) -> Any:
        items = []
        for n, row in enumerate(x["rows"]):
            paths = [f"{k}.png" for k in range(len(row["scores"]))]
            vote = {"ranking": row["ranking"]}
            published = {"prompt": "p", "path_src": "s.png", "paths_generated": paths, "human_vote": vote}
            for sample in read(benchmark, published, n):
                i, j = map(int, sample.id.split("-")[-2:])
                items.append(scored(sample, (row["scores"][i], row["scores"][j])))
        return {"overall": overall(items, rules)["accuracy"], **groups(items, rules, "group")}

    return value


def geneval(x: Input) -> Any:
    benchmark = get_benchmark("geneval")
    published = {"tag": x["tag"], "include": x["include"], "exclude": x["exclude"], "prompt": "p"}
    (sample,) = read(benchmark, {**published, "place": "00000", "image": "0.png"})
    found = [{"bbox_2d": o["box"], **{k: v for k, v in o.items() if k != "box"}} for o in x["objects"]]
    item = said(sample, f"<answer>{json.dumps(found)}</answer>")
    return figures([item], benchmark.protocol("official")).headline[1].value == 1.0


def vicrit_bench(x: Input) -> Any:
    items = [said(caption(row), row["text"]) for row in x["rows"]]
    return overall(items, get_benchmark("vicrit_bench").protocol("released"))["accuracy"]


def refcoco(x: Input) -> Any:
    benchmark = get_benchmark("refcoco")
    (sample,) = read(benchmark, {"image": "x.png", "problem": "p", "solution": x["gold"], "normal_caption": "kettle"})
    scale = (x["image"][0] / x["processed"][0], x["image"][1] / x["processed"][1])
    item = AnsweredItem(sample, (Prediction("given", 0, x["text"], scale=scale),))
    return overall([item], benchmark.protocol("vlm_r1"))["accuracy"]


def vlrm_row(task: str, gold: Any, steps: int) -> Sample:
    lines = [f"STEP{k + 1}: so." for k in range(steps)]
    published = {"id": 1, "image": ["x.png"], "question": "q", "step_list": lines, "reasoning_error": lines}
    return read(get_benchmark("vlrmbench"), {**published, "task_gt": gold}, stem=task)[0]


def vlrmbench(items: Sequence[AnsweredItem]) -> Any:
    return figures(items, get_benchmark("vlrmbench").protocol("official")).headline[1].value


def vlrmbench_steps(x: Input) -> Any:
    return vlrmbench([said(vlrm_row("step_correctness", r["gt"], len(r["gt"])), r["text"]) for r in x["rows"]])


def vlrmbench_foresight(x: Input) -> Any:
    return vlrmbench([said(vlrm_row("foresight", r["gt"], 2), r["text"]) for r in x["rows"]])


def vlrmbench_multi_solution(x: Input) -> Any:
    items = []
    for row in x["rows"]:
        votes = (Prediction("given", 0, row["front"]), Prediction("swapped", 0, row["back"]))
        items.append(AnsweredItem(vlrm_row("multi_solution", [0, 1], 2), votes))
    return vlrmbench(items)


def vlrmbench_analysis(x: Input) -> Any:
    items = []
    for row in x["rows"]:
        grades = (Prediction("given", 0, row["front"]), Prediction("swapped", 0, row["back"]))
        sample = vlrm_row("error_reason_analysis", "Step 1 is wrong.", 2)
        items.append(AnsweredItem(sample, (Prediction("given", 0, "Step 2.", grades=grades),)))
    return vlrmbench(items)


def pope(x: Input) -> Any:
    benchmark = get_benchmark("pope")
    items = []
    for n, row in enumerate(x["rows"]):
        published = {"question_id": n, "image": "x.jpg", "text": "Is there a kettle?", "label": row["label"]}
        items.append(said(read(benchmark, published, n)[0], row["text"]))
    return overall(items, benchmark.protocol("official"))


# --- average precision, losses, advantages ---


def coco(x: Input) -> Any:
    def boxes(rows: Sequence[Sequence[Any]]) -> Boxes:
        xyxy = np.array([row[:4] for row in rows], dtype=float).reshape(-1, 4)
        return Boxes(xyxy, tuple(str(row[4]) for row in rows))

    found, true = ([boxes(image[key]) for image in x["images"]] for key in ("found", "true"))
    scores = [np.array([row[5] for row in image["found"]], dtype=float) for image in x["images"]]
    by_threshold = average_precision(found, true, scores)
    return {"AP": by_threshold.mean(), "AP50": by_threshold[0]}


def trl_loss(kind: str) -> Callable[[Input], Any]:
    """The sum over the micro-batches of one update, each as TRL scales it, and the gradients."""

    def value(x: Input) -> Any:
        batches = x["micro_batches"]
        tokens = sum(sum(map(sum, batch["mask"])) for batch in batches)
        total, leaves = torch.zeros((), dtype=torch.float64), []
        for batch in batches:
            logps = torch.tensor(batch["logps"], dtype=torch.float64, requires_grad=True)
            leaves.append(logps)
            old, ref = (
                None if batch[key] is None else torch.tensor(batch[key], dtype=torch.float64)
                for key in ("old_logps", "ref_logps")
            )
            inputs = LossInputs(
                logps,
                logps.detach() if old is None else old,
                torch.tensor(batch["advantages"], dtype=torch.float64),
                torch.tensor(batch["mask"]),
                ref,
            )
            whole_update = kind in ("dapo", "cispo")
            normalizer = LossNormalizer(rows=len(batch["mask"]), tokens=max(1, tokens)) if whole_update else None
            loss = grpo_loss(
                inputs,
                beta=x["beta"],
                clip_low=x["epsilon_low"],
                clip_high=x["epsilon_high"] - (kind == "cispo"),
                loss_type=kind,  # type: ignore[arg-type]
                max_completion=x["max_completion_length"],
                normalizer=normalizer,
            ).loss
            total = total + (loss if whole_update else loss / len(batches))
        gradients = torch.autograd.grad(total, leaves)
        return {"loss": total.item(), "gradients": [g.tolist() for g in gradients]}

    return value


def trl_advantages(x: Input) -> Any:
    return list(group_advantages(x["rewards"], x["scale_rewards"]))


def tolerance(name: str, expected: Any) -> float:
    """The README's tolerances; those of losses are relative to the greatest gradient."""
    within = FUNCTIONS[name][1]
    if not name.startswith("trl_loss"):
        return within
    return within * max(1.0, *(abs(v) for gradients in expected["gradients"] for row in gradients for v in row))


FIGURE = 6e-5
"""The tolerance of metrics, which have four digits."""

FUNCTIONS: dict[str, tuple[Callable[[Input], Any], float]] = {
    "vl_rewardbench_cal": (vl_rewardbench_cal, 0.0101),
    "vl_rewardbench_verdict": (vl_rewardbench_verdict, 0),
    "vl_rewardbench_group": (vl_rewardbench_group, 0),
    "unified_think_released": (unified_think, 0),
    "unifiedreward_vl_rewardbench_verdict": (verdict_is_right("vl_rewardbench", "unifiedreward", "Answer"), 0),
    "unifiedreward_vl_rewardbench": (unifiedreward_vl_rewardbench, FIGURE),
    "unifiedreward_genai_image_verdict": (verdict_is_right("genai_bench_image", "no_tie", "Image"), 0),
    "unifiedreward_genai_video_verdict": (verdict_is_right("genai_bench_video", "no_tie", "Video"), 0),
    "unifiedreward_genai_video_qwen3vl_verdict": (verdict_is_right("genai_bench_video", "no_tie_qwen3vl", "Video"), 0),
    "unifiedreward_videogen_verdict": (verdict_is_right("videogen_rewardbench", "unifiedreward", "Video"), 0),
    "r1_reward_verdict": (verdict_is_right("vl_rewardbench", "r1_reward", "Answer"), 0),
    "r1_reward_format": (r1_reward_format, 0),
    "genai_bench_verdict": (genai_bench_verdict, 0),
    "genai_bench_accuracy": (genai_bench_accuracy, FIGURE),
    "mm_rlhf_rewardbench": (mm_rlhf, FIGURE),
    "multimodal_rewardbench": (multimodal_rewardbench, FIGURE),
    "mj_bench_fairness": (mj_bench_fairness, 1e-9),
    "mj_bench_bias_scores": (mj_bench_bias, FIGURE),
    "mj_bench_bias_texts": (mj_bench_bias, FIGURE),
    "mj_bench_rating": (mj_bench_rating, 0),
    "mj_bench_narrative": (mj_bench_rating, 0),
    "mj_bench_preference": (mj_bench_preference, 0),
    "vlm_r1_od_map": (detection_reward("od_map_released"), 1e-6),
    "vlm_r1_od_map50": (detection_reward("od_map50_released"), 1e-6),
    "vlm_r1_od_length": (detection_reward("od_length_released"), 1e-6),
    "vlm_r1_od_weighted_sum": (detection_reward("od_weighted_sum_released"), 1e-6),
    "vlm_r1_repetition": (detection_reward("repetition"), 1e-9),
    "vlm_r1_cosine_length": (cosine_length, 1e-9),
    "vlm_r1_all_match": (qa_reward("all_match_released"), 0),
    "vlm_r1_text_ratio": (qa_reward("text_ratio_released"), 1e-6),
    "vlm_r1_format": (qa_reward("format"), 0),
    "vlm_r1_rec_iou": (grounding_reward("rec_iou_released"), 1e-6),
    "vlm_r1_format_rec": (format_rec, 0),
    "refcoco_vlm_r1": (refcoco, 0),
    "vision_r1_recall": (vision_r1("box_recall"), 1e-4),
    "vision_r1_precision": (vision_r1("box_precision"), 1e-4),
    "vision_r1_dual_format": (vision_r1("dual_format_released"), 1e-4),
    "vision_r1_recall_by_step": (vision_r1_by_step("box_recall", advanced=(0.75, 0.5, 0.75)), 1e-4),
    "vision_r1_precision_by_step": (
        vision_r1_by_step("box_precision", advanced=(0.75, 0.75, 0.9), over="matched"),
        1e-4,
    ),
    "coco_average_precision": (coco, 1e-6),
    "geneval": (geneval, 0),
    "vicrit_released": (vicrit_released, 0),
    "vicrit_bench": (vicrit_bench, FIGURE),
    "vlrmbench_steps": (vlrmbench_steps, FIGURE),
    "vlrmbench_foresight": (vlrmbench_foresight, FIGURE),
    "vlrmbench_multi_solution": (vlrmbench_multi_solution, FIGURE),
    "vlrmbench_analysis": (vlrmbench_analysis, FIGURE),
    "pope": (pope, FIGURE),
    "imagereward": (imagereward, FIGURE),
    "videogen_without_ties": (videogen, FIGURE),
    "editreward_strict": (editreward("strict"), FIGURE),
    "editreward_pairs": (editreward("pairs"), FIGURE),
    **{f"trl_loss_{k}": (trl_loss(k), 1e-6) for k in ("grpo", "dr_grpo", "bnpo", "dapo", "gspo", "cispo", "sapo")},
    "trl_advantages": (trl_advantages, 1e-6),
}
FILES = tuple(FUNCTIONS)
_OD = ("od_map", "od_map50", "od_length", "od_weighted_sum")
FUNCTIONS |= {
    **{f"vlm_r1_{name} default": (detection_reward(name), 1e-6) for name in _OD},
    "vlm_r1_rec_iou default": (grounding_reward("rec_iou"), 1e-6),
    "vlm_r1_all_match default": (qa_reward("all_match"), 0),
    "vlm_r1_text_ratio default": (qa_reward("text_ratio"), 1e-6),
    "vision_r1_recall_by_step default": (
        vision_r1_by_step("box_recall", advanced=(0.75, 0.5, 0.75), released=False),
        1e-4,
    ),
}
"""The forms without `released` in their name, on the same files."""


def compared(name: str) -> Iterator[tuple[Case, Any, bool]]:
    """Every case of a file with this project's value, and whether it agrees."""
    function, _ = FUNCTIONS[name]
    for case in cases(name):
        value = function(case.input)
        yield case, value, agree(value, case.expected, tolerance(name, case.expected))


def main(names: Sequence[str]) -> None:
    right = total = 0
    for name in names or FILES:
        results = list(compared(name))
        wrong = [(case, value) for case, value, agrees in results if not agrees]
        right, total = right + len(results) - len(wrong), total + len(results)
        print(f"{len(results) - len(wrong):4} of {len(results):4}  {name}")
        for case, value in wrong if names else ():
            print(f"    {case.id}\n        {json.dumps(case.input)}\n        due {case.expected}, is {value}")
    print(f"{right} of {total}")


if __name__ == "__main__":
    main(sys.argv[1:])
