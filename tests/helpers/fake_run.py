"""A run of the pocket world without a model: its samples, and a student that answers them right more and more often.

The records and figures are the evaluator's own; only the answers and the beliefs are made up here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_recipes.pocket import Setting, build
from reasoner_rm.candidate_labels import swap_labels
from reasoner_rm.data.io import load_samples
from reasoner_rm.evaluation import Evaluation, evaluate
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.sampling.votes import orders_of
from reasoner_rm.schema import PAIRWISE_TASKS, Belief, Completion, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template

STAGES = {"cold_start": 0.55, "rejection_sampling": 0.7, "grpo": 0.9}


class Student(RolloutEngine):
    """Answers samples in the order in which `cast` shows them: with their targets, or with something wrong in them."""

    def __init__(self, samples: Sequence[Sample], skill: float, seed: int):
        self.skill, self.rng = skill, random.Random(seed)
        self.shown = [s if order == "given" else s.swapped() for s in samples for order in orders_of(s.task, both=True)]
        self.answers = [self._answer(s) for s in self.shown]

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        assert len(requests) == len(self.answers)
        return [(Completion(text, (1,), (0.0,), "stop"),) for text in self.answers]

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        """As a listener: mostly convinced by the reasoning, and too sure of itself."""
        return [tuple(self._belief(s, text) for text in row) for s, row in zip(samples, texts, strict=True)]

    def _belief(self, sample: Sample, text: str) -> Belief | None:
        task = get_task(sample.task)
        options, answer = task.options(sample), task.parse(text, sample).answer
        if not options or answer is None:
            return None
        said = task.option_index(answer, sample)
        convinced = 1.2 * self.rng.betavariate(3, 2)
        weights = [self.rng.betavariate(1, 4) + convinced * (i == said) for i in range(len(options))]
        return Belief(options, tuple(w / sum(weights) for w in weights), 0.99)

    def _answer(self, sample: Sample) -> str:
        assert sample.target is not None
        harder = 0.08 * (int(sample.meta["difficulty"]) - 2) + 0.08 * (sample.meta.get("corruption") == "count")
        roll = self.rng.random()
        if roll < self.skill - harder:
            return sample.target
        return sample.target[:-12] if roll > 0.985 else self._wrong(sample)

    def _wrong(self, sample: Sample) -> str:
        text = str(sample.target)
        thought, _, _ = text.partition("</think>")
        match sample.task:
            case "qa":
                options = get_task("qa").options(sample) or ("0", "1", "2", "3", "4")
                answer = self.rng.choice([o for o in options if o != str(sample.gold["answer"])])
                return f"{thought}</think>\n<answer>{answer}</answer>"
            case "caption_critic":
                return f"{thought}</think>\n\\boxed{{{' '.join(sample.prompt.strip('.').split()[-2:])}}}"
            case "detection" | "grounding":
                boxes = [{**box, "bbox_2d": self._off(box["bbox_2d"])} for box in sample.gold["boxes"]]
                return f"{thought}</think>\n<answer>{json.dumps(boxes[self.rng.randint(0, 1) :])}</answer>"
            case _:
                body, _, verdict = text.rpartition("<answer>")
                return body + "<answer>" + swap_labels(verdict, PAIRWISE_TASKS[sample.task].noun)

    def _off(self, box: Sequence[float]) -> list[float]:
        dx, dy = (self.rng.choice((2, 6, 14)) for _ in range(2))
        return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]


def make_pocket_run(run: Path, task: str, *, n: int = 40, seed: int = 0, noise: float = 0.0) -> dict[str, Evaluation]:
    """Everything that a finished run's evaluations leave behind: summary, records, data; by `<stage>-<split>`."""
    made: dict[str, Evaluation] = {}
    summary: dict[str, Any] = {
        "task": task, "base": "builtin:pocket-base", "listener": "builtin:pocket-listener", "seed": seed,
        "seconds": 700.0, "peak_rss_mb": 2300, "data": {"train": 4000, "heldout": n, "ood": n},
        "stage_seconds": dict.fromkeys(STAGES, 200.0), "stages": {},
    }  # fmt: skip
    if task == "image_preference":
        summary["chance"] = 0.5
    (run / "evaluations").mkdir(parents=True, exist_ok=True)
    for split in ("heldout", "ood"):
        file = build(run / "data", split, task, n, seed, name=split, setting=Setting(noise=noise, voters=4))
        samples = load_samples(file)
        for k, (stage, skill) in enumerate(STAGES.items()):
            student = Student(samples, skill - 0.06 * (split == "ood"), seed + k)
            template = load_template(task, "brief")
            result = evaluate(student, template, samples, listener=student, self_listener=student)
            made[f"{stage}-{split}"] = result
            summary["stages"].setdefault(stage, {})[split] = result.metrics.as_json()
            rows = (json.dumps(row) + "\n" for row in result.records(run))
            (run / "evaluations" / f"{stage}-{split}.jsonl").write_text("".join(rows))
    (run / "summary.json").write_text(json.dumps(summary))
    return made
