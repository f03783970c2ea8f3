"""Hostile completions, by seed: broken and nested tags, huge numbers, control signs, bombs, traps, megabytes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.rewards import REWARDS, Reward
from reasoner_rm.rewards.scoring import score_components
from reasoner_rm.rewards.spec import parse_spec
from reasoner_rm.schema import Belief, Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.boxes import parse_boxes

BOXES = [{"bbox_2d": [10, 10, 60, 60], "label": "cube"}, {"bbox_2d": [100, 20, 160, 90], "label": "ball"}]
CAPTION = "A cat sleeps on a wooden chair beside a red sign, while two birds watch from the window sill."
SAMPLES = (
    Sample("pair", "image_preference", "a 7", ("x", "y"), gold={"p_first": 1.0}),
    Sample("soft", "response_preference", "?", ("x",), responses=("a", "b"), gold={"p_first": 0.3}),
    Sample("boxes", "detection", "cube, ball", ("x",), gold={"boxes": BOXES}),
    Sample("none", "detection", "cube, ball", ("x",), gold={"boxes": []}),
    Sample("one", "grounding", "the cube", ("x",), gold={"boxes": BOXES[:1]}),
    Sample("caption", "caption_critic", CAPTION, ("x",),
           gold={"original": "plastic chair", "changed": "wooden chair", "type": "material"}),
    Sample("number", "qa", "How many?", ("x",), gold={"answer": "7", "kind": "number"}),
    Sample("text", "qa", "What is it?", ("x",),
           gold={"answer": "a grey cat", "kind": "text", "references": ["a cat", "grey"]}),
    Sample("choice", "qa", "Which?", ("x",), gold={"answer": "left", "kind": "choice"},
           meta={"choices": ["left", "right"]}),
    Sample("score", "pointwise", "a cube", ("x",), gold={"score": 4}),
    Sample("steps", "step_critique", "?", ("x",), responses=("a", "b", "c"), gold={"steps": [1, 0, 1]}),
)  # fmt: skip
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("format", {"mode": "prefix"}), ("format", {"mode": "search"}),
    ("accuracy", {"soft": True}), ("accuracy", {"exact": True}), ("accuracy", {"ties": "half"}),
    ("listener_belief", {"gate": "none"}), ("listener_belief", {"target": "verdict", "hard": True}),
    ("listener_belief", {"gate": "accuracy", "temperature": 0.1}), ("consistency", {"gate": "none", "hard": False}),
    ("box_recall", {"overlap": "giou"}), ("box_precision", {"over": "matched", "overlap": "giou"}),
    ("rec_iou", {"hard": True}), ("vicrit", {"max_extra_words": 99, "max_share": 1}), ("repetition", {"words": 1}),
)  # fmt: skip
"""Rewards with parameters that make them more generous, or slower."""
MATH = Sample("math", "qa", "?", ("x",), gold={"answer": "\\frac{1}{2}", "kind": "math"})

SCORES = "\n1. Style: Image 1 (9/10) - rich; Image 2 (7/10) - plain.\nTotal score:\nImage 1: 9=9\nImage 2: 7=7"
MEGABYTE = 1_000_000
TAGS = ("<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "{", "[", "]", "```json", "```", "<", ">")
NUMBERS = ("9" * 400, "1e400", "-1e308", "NaN", "Infinity", "-0", "1" + "0" * 5000, "٣", "1,200,300", "0x1F", "1/0")
SIGNS = (
    "\x00",
    "\u202e",
    "\u200f",
    "\u2060",
    "\ufeff",
    "\ud800",
    "\x1b[2J",
    "\r",
    "\u0301" * 50,
    "ﬃ",
    "🐻",
    "<|im_end|>",
)
LONG = (
    "a", " ", "\n", "<think>", "</think>", "</think> ", "<answer>", "</think><answer>", "\\boxed{", "\\boxed{}",
    "{", "[", '{"a":', '{"bbox_2d": [1, 2, 3, 4], "label": "cube"},', "9", "Image 1: 9+", "Image 1 (9/10) ",
    "\u0301", "wooden chair ", "Image 1 is better. ", "a b c d e f ", "```json\n[",
)  # fmt: skip
WORDS = ("Image 1 is better", "Image 2 is better", "the answer is 1", "wooden chair", "7", "left", "[1, 0, 1]", "[]")


def honest(sample: Sample) -> str:
    """The right answer, well formed."""
    task = get_task(sample.task)
    said = task.reference_answer(sample)
    contained = f"\\boxed{{{said}}}" if task.container == "boxed" else f"<answer>{said}</answer>"
    return f"<think>I look at it, and then decide.{SCORES}</think>\n{contained}"


def completions(sample: Sample, n: int, seed: int = 0, most: int = MEGABYTE) -> Iterator[str]:
    """``n`` texts, a few in a hundred of them of ``most`` characters."""
    rng = random.Random(f"{sample.id}/{seed}")
    for _ in range(n):
        yield _one(sample, rng, most)


def _one(sample: Sample, rng: random.Random, most: int) -> str:
    text = honest(sample)
    kind = rng.random()
    if kind < 0.03:
        return _long(text, rng, most)
    if kind < 0.10:  # bombs and traps of a plausible length
        return _long(text, rng, rng.choice((2000, 30_000)))
    if kind < 0.25:  # a soup of everything
        return "".join(rng.choice((*TAGS, *WORDS, *SIGNS, *NUMBERS)) for _ in range(rng.randint(0, 30)))
    if kind < 0.35:  # boxes of all kinds
        items = [
            {"bbox_2d": [rng.choice((-1e9, -5, 0, 7, 10, 60, 1e6, 1e308)) for _ in range(rng.choice((3, 4, 4, 4)))],
             "label": rng.choice(("cube", "ball", "", "\u202ecube", "x" * 300, 7))}
            for _ in range(rng.randint(0, 6))
        ]  # fmt: skip
        said = json.dumps([*items, *rng.choice(((), BOXES))])
        fenced = f"```json\n{said}\n```"
        return rng.choice((said, fenced, *(f"<think>.</think><answer>{each}</answer>" for each in (said, fenced))))
    for _ in range(rng.randint(1, 6)):  # the honest text, damaged
        at = rng.randint(0, len(text))
        match rng.randrange(4):
            case 0:
                text = text[:at] + rng.choice((*TAGS, *SIGNS, *NUMBERS, *WORDS)) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 12) :]
            case 2:
                text = text[:at] + text[rng.randint(0, len(text)) :]
            case _:
                text = text.replace(rng.choice(TAGS), rng.choice(("", *TAGS)), 1)
    return text


def _long(text: str, rng: random.Random, size: int) -> str:
    piece = rng.choice(LONG)
    bulk = piece * (size // len(piece))
    match rng.randrange(5):
        case 0:
            return bulk
        case 1:
            return text.replace("<think>", "<think>" + bulk, 1)
        case 2:
            return text + bulk
        case 3:
            return bulk + text
        case _:
            return text.replace("</think>\n", "</think>\n" + bulk, 1).replace("<answer>", "<answer>" + bulk, 1)


def context(sample: Sample) -> RewardContext:
    """A listener that is sure, and scorers that praise everything: payment then is the reward's own decision."""
    options = get_task(sample.task).options(sample)
    sure = tuple(0.9 if i == 0 else 0.1 / (len(options) - 1) for i in range(len(options)))
    return RewardContext(
        beliefs=(Belief(options, sure, 1.0) if options else None,),
        scorers={
            "judge": lambda sample, texts, facts: [1.0] * len(texts),
            "yes_no": lambda sample, texts: [(5.0, 0.0)] * len(texts),
            "nli": lambda sample, texts, references: [[(1.0, 0.0, 0.0)] * len(references)] * len(texts),
            "similarity": lambda sample, texts, references: [[1.0] * len(references)] * len(texts),
            "sentences": lambda sample, texts: [1.0] * len(texts),
        },
    )


@dataclass(slots=True)
class Fuzzed:
    """What a reward did: how often it paid, what went wrong, and how long each text took in seconds."""

    paid: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def fuzz(
    reward: Reward,
    n: int,
    samples: tuple[Sample, ...] = SAMPLES,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    most: int = MEGABYTE,
    clock: Callable[[], float] = time.process_time,
) -> Fuzzed:
    """Score ``n`` hostile texts, in turns over the samples. What other programs take of the machine is not timed."""
    found, mixture = Fuzzed(), parse_spec(reward.name, params)
    contexts = [context(sample) for sample in samples]
    texts = [completions(sample, n, seed, most) for sample in samples]
    for i in range(n):
        sample, text = samples[i % len(samples)], next(texts[i % len(samples)])
        began = clock()
        try:
            parsed = get_task(sample.task).parse(text, sample)
            group = Group(sample, (Completion(text, (), (), "stop"),))
            values = score_components(mixture, group, [parsed], contexts[i % len(samples)])  # holds them to the range
            value = values[reward.name][0]
        except Exception as error:
            found.faults.append(f"{sample.id}: {type(error).__name__}: {error} on {text[:80]!r}")
            continue
        found.seconds.append(clock() - began)
        if value is not None and value > 0:
            found.paid += 1
            if parsed.answer is None and not _reads_it(reward, sample, text):
                found.faults.append(f"{sample.id}: paid {value} for {text[:80]!r}")
    return found


def _reads_it(reward: Reward, sample: Sample, text: str) -> bool:
    """Whether a reward with a parser of its own could read a text that the task could not."""
    if not reward.custom_parser:
        return False
    return reward.name.endswith("_released") or parse_boxes(text) is not None


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


__all__ = ["MATH", "REWARDS", "SAMPLES", "VARIANTS", "Fuzzed", "completions", "fuzz", "honest", "percentile"]
